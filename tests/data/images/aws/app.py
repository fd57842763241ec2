import os


def handler(event, context):
    return {
        "event": event,
        "root": os.environ["LAMBDA_TASK_ROOT"],
        "handler": os.environ["_HANDLER"],
        "cwd": os.getcwd(),
    }


def other(event, context):
    return "the other one"
