"""Makes the stack of a network at one of two simulators, and prints what their EC2 then
shows, with ids replaced by the order in which they appear.

What moto is known to lose is left out: EnableDnsHostnames, MapPublicIpOnLaunch, and that
an update without a change is refused.

usage: network.py TEMPLATE [ENDPOINT]; without an endpoint it is moto, in this process."""
import contextlib
import json
import re
import sys
import time

import boto3
import botocore.exceptions
import moto

template = open(sys.argv[1]).read()
endpoint = sys.argv[2] if len(sys.argv) > 2 else None


def code(call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as e:
        return e.response["Error"]["Code"]
    return "none"


def tags(list_):
    return sorted(t["Key"] + "=" + re.sub(r"stack/net/.*", "stack/net", t["Value"]) for t in list_)


with contextlib.nullcontext() if endpoint else moto.mock_aws():
    cloudformation, ec2 = (boto3.client(name, endpoint_url=endpoint) for name in ("cloudformation", "ec2"))
    everything = lambda name, **more: ec2.get_paginator(name).paginate(**more).build_full_result()
    cloudformation.create_stack(StackName="net", TemplateBody=template, Tags=[{"Key": "a", "Value": "b"}])
    while True:
        stack = cloudformation.describe_stacks(StackName="net")["Stacks"][0]
        if not stack["StackStatus"].endswith("_IN_PROGRESS"):
            break
        time.sleep(0.05)
    resources = {r["LogicalResourceId"]: r for r in cloudformation.describe_stack_resources(StackName="net")["StackResources"]}
    vpc = resources["VPC"]["PhysicalResourceId"]
    own = {"Filters": [{"Name": "vpc-id", "Values": [vpc]}]}
    pick = lambda o, *names: {n: o.get(n) for n in names}
    groups = everything("describe_security_groups", **own)["SecurityGroups"]
    seen = {
        "status": stack["StackStatus"],
        "outputs": sorted((o["OutputKey"], o["OutputValue"]) for o in stack["Outputs"]),
        "resources": sorted((r["LogicalResourceId"], r["ResourceType"], r["ResourceStatus"]) for r in resources.values()),
        "vpcs": [dict(pick(v, "CidrBlock", "State", "IsDefault", "InstanceTenancy"), tags=tags(v["Tags"])) for v in everything("describe_vpcs", VpcIds=[vpc])["Vpcs"]],
        "dns": ec2.describe_vpc_attribute(VpcId=vpc, Attribute="enableDnsSupport")["EnableDnsSupport"]["Value"],
        "subnets": sorted(
            (dict(pick(s, "CidrBlock", "AvailabilityZone", "State", "DefaultForAz", "AssignIpv6AddressOnCreation"), tags=tags(s["Tags"])) for s in everything("describe_subnets", **own)["Subnets"]),
            key=lambda s: s["CidrBlock"]),
        "routes": sorted(
            (dict(routes=sorted((r["DestinationCidrBlock"], r["State"], r["Origin"], "nat" if r.get("NatGatewayId") else r["GatewayId"]) for r in t["Routes"]), main=any(a.get("Main") for a in t["Associations"]), tags=tags(t["Tags"]))
             for t in everything("describe_route_tables", **own)["RouteTables"]), key=lambda t: json.dumps(t)),
        "groups": sorted((pick(g, "Description", "IpPermissions", "IpPermissionsEgress") for g in groups), key=lambda g: g["Description"]),
        "gateways": [pick(g, "Attachments") for g in everything("describe_internet_gateways")["InternetGateways"] if any(a["VpcId"] == vpc for a in g["Attachments"])],
        "nat": [dict(pick(n, "State", "ConnectivityType"), addresses=len(n["NatGatewayAddresses"])) for n in everything("describe_nat_gateways", **own)["NatGateways"]],
        "addresses": [pick(a, "Domain") for a in ec2.describe_addresses()["Addresses"]],
    }
    subnet = everything("describe_subnets", **own)["Subnets"][0]["SubnetId"]
    foreign = ec2.create_security_group(GroupName="foreign", Description="foreign", VpcId=vpc)["GroupId"]
    seen["refusals"] = {
        "a VPC that is too large": code(ec2.create_vpc, CidrBlock="10.0.0.0/8"),
        "a VPC with something in it": code(ec2.delete_vpc, VpcId=vpc),
        "no such VPC": code(ec2.describe_vpcs, VpcIds=["vpc-0123456789abcdef0"]),
        "no such subnet": code(ec2.delete_subnet, SubnetId="subnet-0123456789abcdef0"),
        "no such group": code(ec2.delete_security_group, GroupId="sg-0123456789abcdef0"),
        "no such route table": code(ec2.describe_route_tables, RouteTableIds=["rtb-0123456789abcdef0"]),
        "no such gateway": code(ec2.delete_internet_gateway, InternetGatewayId="igw-0123456789abcdef0"),
        "a subnet outside": code(ec2.create_subnet, VpcId=vpc, CidrBlock="10.99.0.0/24"),
        "a subnet that is there": code(ec2.create_subnet, VpcId=vpc, CidrBlock=everything("describe_subnets", SubnetIds=[subnet])["Subnets"][0]["CidrBlock"]),
        "a group of a name that is there": code(ec2.create_security_group, GroupName="foreign", Description="foreign", VpcId=vpc),
        "the same rule twice": [code(ec2.authorize_security_group_ingress, GroupId=foreign, IpPermissions=[{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]) for _ in range(2)],
        "a stack of a name that is there": code(cloudformation.create_stack, StackName="net", TemplateBody=template),
        "no such stack": code(cloudformation.describe_stacks, StackName="nothing"),
    }

text = json.dumps(seen, indent=1, sort_keys=True)
numbers = {}
print(re.sub(r"\b(vpc|subnet|rtb|igw|nat|sg|eipalloc)-[0-9a-f]{8,17}\b", lambda m: m[1] + "-" + str(numbers.setdefault(m[0], len(numbers))), text))
