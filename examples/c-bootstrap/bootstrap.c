/* A runtime and its function in one static program: tells how long the event is, in bytes. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 6 * 1024 * 1024 + 65536 }; /* an event and the headers before it */
static char answer[MOST + 1];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* One request of the Runtime API, on a connection of its own; gives the length of the answer. */
static size_t ask(const struct sockaddr_in *api, const char *method, const char *path, const char *body)
{
    char request[1024];
    int length = snprintf(request, sizeof request,
                          "%s /2018-06-01/runtime/%s HTTP/1.1\r\nHost: runtime\r\nConnection: close\r\n"
                          "Content-Length: %zu\r\n\r\n%s", method, path, strlen(body), body);
    if (length < 0 || (size_t)length >= sizeof request) exit(1);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)api, sizeof *api)) fail("connect");
    for (ssize_t sent = 0, more; sent < length; sent += more)
        if ((more = write(fd, request + sent, length - sent)) < 0) fail("write");
    size_t all = 0;
    ssize_t got;
    while (all < MOST && (got = read(fd, answer + all, MOST - all)) > 0) all += got;
    close(fd);
    answer[all] = 0;
    return all;
}

int main(void)
{
    struct sockaddr_in api = {.sin_family = AF_INET};
    char host[64], id[64], path[128], body[64];
    unsigned port;
    const char *where = getenv("AWS_LAMBDA_RUNTIME_API");
    if (!where || sscanf(where, "%63[^:]:%u", host, &port) != 2 || inet_pton(AF_INET, host, &api.sin_addr) != 1) {
        fprintf(stderr, "AWS_LAMBDA_RUNTIME_API is no address\n");
        return 1;
    }
    api.sin_port = htons(port);
    for (;;) {
        size_t length = ask(&api, "GET", "invocation/next", "");
        char *end = strstr(answer, "\r\n\r\n");
        if (!end) return 1;
        *end = 0;
        const char *name = "Lambda-Runtime-Aws-Request-Id:", *found = strcasestr(answer, name);
        if (!found || sscanf(found + strlen(name), " %63[0-9a-f-]", id) != 1) return 1;
        snprintf(path, sizeof path, "invocation/%s/response", id);
        snprintf(body, sizeof body, "{\"bytes\": %zu}", length - (size_t)(end + 4 - answer));
        printf("%s from C\n", body);
        fflush(stdout);
        ask(&api, "POST", path, body);
    }
}
