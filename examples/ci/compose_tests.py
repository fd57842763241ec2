"""What the compose file's tests do: deploy the greeting, and hear it."""

import io
import json
import zipfile
from pathlib import Path

from botocore.session import Session

FUNCTION = Path(__file__).parent / "pytest" / "greeting" / "app.py"

client = Session().create_client("lambda")
package = io.BytesIO()
with zipfile.ZipFile(package, "w") as archive:
    archive.write(FUNCTION, "app.py")
client.create_function(
    FunctionName="greeting",
    Runtime="python3.11",
    Role="arn:aws:iam::123456789012:role/any",
    Handler="app.handler",
    Code={"ZipFile": package.getvalue()},
)
client.get_waiter("function_active_v2").wait(FunctionName="greeting")
answer = client.invoke(FunctionName="greeting", Payload=json.dumps({"name": "compose"}))
greeting = json.load(answer["Payload"])
print(greeting)
assert greeting == {"greeting": "Hello, compose!"}
