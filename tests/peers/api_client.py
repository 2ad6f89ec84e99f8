"""Drives a client that openapi-python-client made of the HTTP API's document: `api_client.py FOLDER URL KEY SERVICE`."""

import json
import sys

folder, url, key, service = sys.argv[1:]
sys.path.insert(0, folder)

from made import AuthenticatedClient  # noqa: E402
from made.api.calls import calls_call, calls_operations  # noqa: E402
from made.api.connections import connections_list, connections_show  # noqa: E402
from made.models import Problem  # noqa: E402

client = AuthenticatedClient(base_url=url, token=key)
connections = connections_list.sync(client=client)
operations = calls_operations.sync("work", client=client)
called = calls_call.sync("work", "look", client=client, body={"url": f"{service}/made"})
missing = connections_show.sync("missing", client=client)
assert isinstance(missing, Problem), missing
print(json.dumps({
    "connections": [[it.name, it.connector] for it in connections.items],
    "operations": sorted(it.id for it in operations),
    "called": called.to_dict() if hasattr(called, "to_dict") else called,
    "missing": [missing.status, missing.kind],
}))
