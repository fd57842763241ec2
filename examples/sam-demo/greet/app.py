import os

import phrases  # from the layer


def handler(event, context):
    return {
        "text": phrases.say("Hello", event.get("name", "you")),
        "stage": os.environ["STAGE"],
        "stack": os.environ["STACK"],
        "next": os.environ["NEXT"],
        "version": context.function_version,
    }
