"""Holds a recording of what was said to AWS, and of what it answered, to botocore's models
of AWS's services: each request has to be one that its operation takes, each answer one
that it gives. Takes the folder of the recording; prints what does not fit, one thing a
line, and at last how many exchanges there were of which services."""
import json
import pathlib
import re
import sys
import urllib.parse
import xml.etree.ElementTree as ET

import botocore.parsers
import botocore.session
import botocore.validate

NAMES = {"elasticloadbalancing": "elbv2", "servicequotas": "service-quotas"}
session = botocore.session.get_session()
models = {}


def model(service):
    name = NAMES.get(service, service)
    if name not in models:
        models[name] = session.get_service_model(name)
    return models[name]


def rest_operation(m, request):
    """The operation of a request that is told by method and path, and what the path says."""
    path, best = request["path"].rstrip("/") or "/", None
    for name in m.operation_names:
        op = m.operation_model(name)
        template, _, fixed = op.http["requestUri"].partition("?")
        shape = re.sub(r"\\\{(\w+)\\\+\\\}", r"(?P<\1>.+)", re.escape(template.rstrip("/") or "/"))
        shape = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", shape)
        found = re.fullmatch(shape, path)
        if op.http["method"] != request["method"] or not found:
            continue
        query = urllib.parse.parse_qs(request.get("query", ""), keep_blank_values=True)
        if not all(part.split("=")[0] in query for part in fixed.split("&") if part):
            continue
        score = (len([p for p in fixed.split("&") if p]), -shape.count("(?P"))
        if best is None or score > best[0]:
            best = (score, op, {k: urllib.parse.unquote(v) for k, v in found.groupdict().items()})
    return (None, {}) if best is None else best[1:]


def scalar(shape, text):
    kinds = {"integer": int, "long": int, "float": float, "double": float, "boolean": lambda t: {"true": True, "false": False}[t]}
    return kinds.get(shape.type_name, str)(text)


class Form:
    """A form, as the protocols query and ec2 have it, read by a shape."""

    def __init__(self, fields, ec2):
        self.fields, self.ec2, self.read = fields, ec2, set()

    def name(self, key, shape):
        if not self.ec2:
            return shape.serialization.get("name", key)
        if "queryName" in shape.serialization:
            return shape.serialization["queryName"]
        name = shape.serialization.get("name", key)
        return name[0].upper() + name[1:]

    def get(self, shape, prefix):
        if shape.type_name == "structure":
            all = {k: self.get(s, (prefix + "." if prefix else "") + self.name(k, s)) for k, s in shape.members.items()}
            all = {k: v for k, v in all.items() if v is not None}
            return all if all or not prefix else None
        if shape.type_name == "list":
            if not (self.ec2 or shape.serialization.get("flattened")):
                prefix += "." + shape.member.serialization.get("name", "member")
            items = []
            while (item := self.get(shape.member, f"{prefix}.{len(items) + 1}")) is not None:
                items.append(item)
            return items or None
        if prefix not in self.fields:
            return None
        self.read.add(prefix)
        return scalar(shape, self.fields[prefix])


def asked(m, e):
    """The operation of a request and its parameters."""
    request = e["request"]
    body = request.get("body", "")
    if m.protocol in ("query", "ec2"):
        fields = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
        op = m.operation_model(fields.pop("Action"))
        fields.pop("Version", None)
        form = Form(fields, m.protocol == "ec2")
        params = form.get(op.input_shape, "") or {} if op.input_shape else {}
        for unknown in sorted(set(fields) - form.read):
            yield f"{op.name} has no parameter {unknown}"
    elif m.protocol == "json":
        op, params = m.operation_model(e["action"]), json.loads(body or "{}")
    else:
        op, path = rest_operation(m, request)
        if op is None:
            yield f"there is no operation {request['method']} {request['path']}?{request.get('query', '')}"
            return
        params, shape = {}, op.input_shape
        payload = json.loads(body) if body and m.protocol == "rest-json" else {}
        query = urllib.parse.parse_qs(request.get("query", ""), keep_blank_values=True)
        for key, s in shape.members.items() if shape else ():
            where, name = s.serialization.get("location"), s.serialization.get("name", key)
            if where == "uri":
                params[key] = path[name]
            elif where == "querystring" and name in query:
                params[key] = [scalar(s.member, v) for v in query[name]] if s.type_name == "list" else scalar(s, query[name][0])
            elif where is None and name in payload:
                params[key] = payload.pop(name)
        for unknown in sorted(payload):
            yield f"{op.name} has no parameter {unknown}"
        if m.protocol == "rest-xml":
            yield op, None  # what is in headers and in XML is not recorded whole
            return
    if op.input_shape:
        report = botocore.validate.ParamValidator().validate(params, op.input_shape)
        if report.has_errors():
            yield f"{op.name}: {report.generate_report()}"
    yield op, params


def known_json(shape, value, at):
    if shape.type_name == "structure" and isinstance(value, dict):
        names = {s.serialization.get("name", k): s for k, s in shape.members.items()}
        for k, v in value.items():
            if k not in names:
                yield f"{at}.{k}"
            else:
                yield from known_json(names[k], v, f"{at}.{k}")
    elif shape.type_name == "list" and isinstance(value, list):
        for v in value:
            yield from known_json(shape.member, v, at)


def known_xml(shape, node, at):
    if shape.type_name == "structure":
        names = {}
        for k, s in shape.members.items():
            flat = s.type_name == "list" and s.serialization.get("flattened")
            names[s.member.serialization.get("name", s.serialization.get("name", k)) if flat and "name" not in s.serialization else s.serialization.get("name", k)] = s
        for child in node:
            tag = child.tag.partition("}")[2] or child.tag
            s = names.get(tag)
            if s is None:
                yield f"{at}.{tag}"
            elif s.type_name == "list" and s.serialization.get("flattened"):
                yield from known_xml(s.member, child, f"{at}.{tag}")
            else:
                yield from known_xml(s, child, f"{at}.{tag}")
    elif shape.type_name == "list":
        for child in node:
            yield from known_xml(shape.member, child, at)


def answered(m, op, e):
    """What of an answer its operation does not know."""
    r = e["response"]
    body = r.get("body", "").encode()
    parsed = botocore.parsers.create_parser(m.protocol).parse({"status_code": r["status"], "headers": r.get("headers") or {}, "body": body}, op.output_shape)
    if r["status"] >= 300:
        if r["status"] != 404 and e["request"]["method"] != "HEAD" and not parsed.get("Error", {}).get("Code"):
            yield f"{op.name}: an error without a code: {r.get('body', '')[:200]}"
        return
    if not op.output_shape or not body:
        return
    if m.protocol in ("json", "rest-json"):
        yield from (f"{op.name} answers {x}" for x in known_json(op.output_shape, json.loads(body), ""))
        return
    if m.protocol == "rest-xml" and op.output_shape.serialization.get("payload"):
        return
    node = ET.fromstring(body)
    if m.protocol == "query":
        node = next((c for c in node if c.tag.endswith(op.name + "Result")), ET.Element("none"))
    ours = {".requestId", ".ResponseMetadata"}
    yield from (f"{op.name} answers {x}" for x in known_xml(op.output_shape, node, "") if x not in ours)


def judge(folder):
    counts = {}
    for file in sorted(pathlib.Path(folder).glob("*.json")):
        e = json.loads(file.read_text())
        if "error" in e["response"]:
            continue
        m, op = model(e["service"]), None
        counts[e["service"]] = counts.get(e["service"], 0) + 1
        for said in asked(m, e):
            if isinstance(said, tuple):
                op = said[0]
            else:
                yield f"{file.name}: {said}"
        if op is not None:
            yield from (f"{file.name}: {said}" for said in answered(m, op, e))
    yield json.dumps(counts, sort_keys=True)


for line in judge(sys.argv[1]):
    print(line)
