"""Greets by name, and says so in the log."""


def handler(event, context):
    name = event["name"]
    print(f"greeting {name}")
    return {"greeting": f"Hello, {name}!"}
