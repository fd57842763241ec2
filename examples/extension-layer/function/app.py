"""Knows nothing of the extension beside it."""


def handler(event, context):
    print("function: at work")
    return "done"
