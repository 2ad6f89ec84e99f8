"""What schemathesis cannot know of the HTTP API: names of things that are there, and how a connector is sent."""

import schemathesis

THERE = {"connection": "work", "connector": "tools", "operation": "look", "name": "tools"}


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Half of what is looked at or called is there; nothing that the others need is taken away, nor the key that asks."""
    if not path_parameters:
        return path_parameters
    if context.operation.method == "delete":
        return {name: "gone" if value in ("app", *THERE.values()) else value for name, value in path_parameters.items()}
    half = sum(len(str(value)) for value in path_parameters.values()) % 2 == 0
    return {name: THERE.get(name, value) if half else value for name, value in path_parameters.items()}


@schemathesis.serializer("application/wasm")
def as_it_is(context, value):
    return value if isinstance(value, bytes) else str(value).encode()
