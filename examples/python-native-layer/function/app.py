"""Serialises by a module in compiled code that comes from the layer."""

import orjson


def handler(event, context):
    text = orjson.dumps(event["value"], option=orjson.OPT_SORT_KEYS).decode()
    return {"text": text, "from": orjson.__file__.rpartition("/")[0]}
