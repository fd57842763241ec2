"""Prints a streamed response as it comes; the first version of the AWS CLI has no command for that."""

import json
import os
import sys

from botocore.session import Session

client = Session().create_client("lambda", region_name="us-east-1", endpoint_url=os.environ["BERTH_URL"])
answer = client.invoke_with_response_stream(FunctionName=sys.argv[1], Payload=json.dumps({"from": 3}))
for event in answer["EventStream"]:
    if "PayloadChunk" in event:
        sys.stdout.write(event["PayloadChunk"]["Payload"].decode())
        sys.stdout.flush()
    elif "ErrorCode" in event["InvokeComplete"]:
        sys.exit(event["InvokeComplete"]["ErrorDetails"])
