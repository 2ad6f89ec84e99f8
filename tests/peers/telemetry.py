"""Reads what a host tells to those who watch it, as others do: `telemetry.py metrics` reads OpenMetrics, `telemetry.py otlp` a JSON list
of a signal and the base64 of what was posted for it. Prints JSON."""

import base64
import json
import sys


def metrics(text):
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    families = text_string_to_metric_families(text)
    return {it.name: {"type": it.type, "help": it.documentation, "samples": [[s.name, s.labels, s.value] for s in it.samples]} for it in families}


def otlp(posted):
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    def value(it):
        return getattr(it, it.WhichOneof("value")) if it.WhichOneof("value") else None

    def attributes(all):
        return {it.key: value(it.value) for it in all}

    spans, lines, services = [], [], set()
    for signal, body in posted:
        body = base64.b64decode(body)
        if signal == "traces":
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                services.add(attributes(resource.resource.attributes).get("service.name"))
                spans += [
                    {"trace": it.trace_id.hex(), "id": it.span_id.hex(), "parent": it.parent_span_id.hex(), "name": it.name,
                     "kind": Span.SpanKind.Name(it.kind), "attributes": attributes(it.attributes), "events": [e.name for e in it.events],
                     "took": it.end_time_unix_nano - it.start_time_unix_nano}
                    for scope in resource.scope_spans for it in scope.spans
                ]
        else:
            request = ExportLogsServiceRequest.FromString(body)
            for resource in request.resource_logs:
                services.add(attributes(resource.resource.attributes).get("service.name"))
                lines += [
                    {"trace": it.trace_id.hex(), "severity": SeverityNumber.Name(it.severity_number), "body": value(it.body)}
                    for scope in resource.scope_logs for it in scope.log_records
                ]
    return {"spans": spans, "lines": lines, "services": sorted(services)}


print(json.dumps(metrics(sys.stdin.read()) if sys.argv[1] == "metrics" else otlp(json.load(sys.stdin))))
