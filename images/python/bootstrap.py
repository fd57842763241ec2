"""Lays out the module search path as AWS's managed Python runtimes do, then hands over to the runtime client.

The order: the function's own files, `python/lib/python3.N/site-packages` and `python` of the layers, what the runtime
brings (boto3 among it), the standard library. It knows nothing of events or of the Runtime API: that is awslambdaric's.
"""

import os
import site
import sys

# Before the function's files join the path: a function that brings a module by the name of one that the client needs
# must not break the client.
from awslambdaric.__main__ import main

version = f"python{sys.version_info.major}.{sys.version_info.minor}"
task_root = os.environ.get("LAMBDA_TASK_ROOT", "/var/task")
first = [task_root, f"/opt/python/lib/{version}/site-packages", "/opt/python"]

sys.path[:0] = first
for directory in first:
    site.addsitedir(directory)  # .pth files count, as on AWS

main([task_root, os.environ["_HANDLER"]])
