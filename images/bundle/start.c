/* The bundle's programs: one small static executable under several names, which starts the bundle's interpreter.

   It exists because nothing else can: an image may have no shell and no C library, a script's first line takes one
   argument only, and an ELF file names its loader by an absolute path while the bundle may be mounted anywhere. So it
   finds out where it lies, and runs the bundle's own loader with the bundle's own libraries on the bundle's own Python.

   Variables of the dynamic loader (`LD_…`) are meant for the image's programs and would break the bundle's: they are
   hidden by another first letter, and `rapid.emulator` gives them back to what it starts.

   Freestanding: no C library, no start files. */

#define AT_FDCWD -100
#define PLACE 3800 /* longest path of the bundle's directory */

#if defined(__x86_64__)
enum { NR_write = 1, NR_execve = 59, NR_exit = 60, NR_readlinkat = 267 };
static long call(long number, long a, long b, long c, long d)
{
    long result;
    register long fourth __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return result;
}
__asm__(".globl _start\n_start:\n  xor %ebp,%ebp\n  mov %rsp,%rdi\n  and $-16,%rsp\n  call start\n  hlt\n");
#elif defined(__aarch64__)
enum { NR_write = 64, NR_execve = 221, NR_exit = 93, NR_readlinkat = 78 };
static long call(long number, long a, long b, long c, long d)
{
    register long n __asm__("x8") = number;
    register long first __asm__("x0") = a;
    register long second __asm__("x1") = b;
    register long third __asm__("x2") = c;
    register long fourth __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(first) : "r"(n), "r"(second), "r"(third), "r"(fourth) : "memory");
    return first;
}
__asm__(".globl _start\n_start:\n  mov x29,#0\n  mov x0,sp\n  bl start\n");
#else
#error "this processor is not known"
#endif

static void fail(const char *text, unsigned long length)
{
    call(NR_write, 2, (long)text, (long)length, 0);
    call(NR_exit, 127, 0, 0, 0);
}
#define FAIL(text) fail(text, sizeof(text) - 1)

static char place[4096], loader[4096], libraries[4096], python[4096];

static void join(char *to, const char *tail)
{
    const char *from = place;
    while (*from) *to++ = *from++;
    while (*tail) *to++ = *tail++;
    *to = 0;
}

static int same(const char *a, const char *b)
{
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

/* Called with the stack as the kernel left it: argc, argv, NULL, envp, NULL. */
__attribute__((used, noreturn)) void start(long *stack)
{
    long argc = stack[0];
    char **argv = (char **)(stack + 1), **envp = argv + argc + 1;
    long length = call(NR_readlinkat, AT_FDCWD, (long)"/proc/self/exe", (long)place, PLACE);
    if (length <= 0 || length >= PLACE) FAIL("cannot tell where I lie: /proc/self/exe cannot be read\n");

    char *name = place + length; /* <place>/bin/<name> */
    *name = 0;
    while (name > place && name[-1] != '/') name--;
    if (name - place < 5) FAIL("I have to lie in the directory bin of my bundle\n");
    /* The name stays where it is, behind the end that is put before `/bin/`. */
    name[-5] = 0;
    const char *code = same(name, "agent") ? "from rapid.agent import main; main()"
                                           : "from rapid.__main__ import main; main()";
    join(loader, "/lib/ld.so");
    join(libraries, "/lib");
    join(python, "/bin/python3");

    for (char **each = envp; *each; each++)
        if ((*each)[0] == 'L' && (*each)[1] == 'D' && (*each)[2] == '_') (*each)[0] = '_';

    const char *fixed[] = {loader, "--inhibit-cache", "--library-path", libraries, python, "-I", "-S", "-c", code};
    enum { FIXED = sizeof fixed / sizeof *fixed };
    const char *arguments[FIXED + (argc > 0 ? argc : 1)];
    for (int i = 0; i < FIXED; i++) arguments[i] = fixed[i];
    for (long i = 1; i < argc; i++) arguments[FIXED + i - 1] = argv[i];
    arguments[FIXED + (argc > 0 ? argc : 1) - 1] = 0;
    call(NR_execve, (long)loader, (long)arguments, (long)envp, 0);
    FAIL("cannot start the bundle's loader, lib/ld.so\n");
    for (;;) {}
}
