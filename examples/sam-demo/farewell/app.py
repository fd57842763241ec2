import os

import phrases  # from the layer


def handler(event, context):
    return {
        "text": phrases.say("Goodbye", event.get("name", "you")),
        "stage": os.environ["STAGE"],
        "version": context.function_version,
    }
