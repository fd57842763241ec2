from runtime.overlay import Folder, Leaf, overlay


def folder(mtime: int = 0, **children: Folder | Leaf) -> Folder:
    return Folder(mtime, children)


ONE, TWO = Leaf("one"), Leaf("two")


def test_folders_of_one_name_become_one() -> None:
    """Children of both are there; of one path the upper counts, and the upper's time."""
    lower = folder(1, d=folder(1, a=ONE, b=ONE))
    upper = folder(2, d=folder(3, b=TWO, c=TWO))
    assert overlay(lower, upper) == folder(2, d=folder(3, a=ONE, b=TWO, c=TWO))


def test_a_file_replaces_a_folder() -> None:
    """Nothing of the folder is left."""
    assert overlay(folder(x=folder(a=ONE)), folder(x=TWO)) == folder(x=TWO)


def test_a_folder_replaces_a_file_or_link() -> None:
    """What was a leaf is a folder with the upper's children only."""
    assert overlay(folder(x=ONE), folder(x=folder(a=TWO))) == folder(x=folder(a=TWO))


def test_neither_is_changed() -> None:
    """Layers are shared by many functions, so laying one over another leaves both alone."""
    lower, upper = folder(d=folder(a=ONE)), folder(d=folder(b=TWO))
    overlay(lower, upper)
    assert (lower, upper) == (folder(d=folder(a=ONE)), folder(d=folder(b=TWO)))


def test_laying_over_nothing() -> None:
    """Over an empty folder, and under one, everything stays."""
    full = folder(d=folder(a=ONE), b=TWO)
    assert overlay(folder(), full) == overlay(full, folder()) == full
