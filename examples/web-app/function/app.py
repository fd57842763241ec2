"""A web application as it would run on any server; Mangum turns events into requests."""

from mangum import Mangum
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route


async def greet(request):
    name = request.path_params["name"]
    words = request.query_params.get("greeting", "Hello")
    return JSONResponse({"text": f"{words}, {name}!"}, headers={"X-From": "Starlette"})


app = Starlette(routes=[Route("/greet/{name}", greet)])
handler = Mangum(app, lifespan="off")
