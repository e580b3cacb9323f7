"""Which AWS credentials are used, what is signed with them, and what is said when there are none."""

from __future__ import annotations

import http.server
import json
import os
import stat
import sys
import threading
import time
import unittest
from pathlib import Path
from typing import Any, Dict, List
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cortex import credentials
from tests import fake_operator
from tests.fake_operator import KEY_ID, SECRET
from tests.identities import IdentityCase, needs_botocore
from tests.support import REPOSITORY, json_reply, recorder, serving

REGION = "us-west-2"

PROOFS = REPOSITORY / "internal" / "auth" / "authtest" / "testdata" / "proofs.json"


def profile(name: str, id: str = KEY_ID, token: str = "") -> str:
    text = f"[{name}]\naws_access_key_id = {id}\naws_secret_access_key = {SECRET}\n"
    return text + (f"aws_session_token = {token}\n" if token else "")


def key(name: str) -> str:
    """Returns an access key id that says which source it is of."""
    return ("AKIA" + name.upper() + "0" * 16)[:20]


class CredentialsCase(IdentityCase):
    def find(self) -> credentials.Keys:
        return credentials.find(os.environ, REGION)

    def not_found(self, code: str, *texts: str) -> Any:
        return self.refused(self.find, code, *texts)

    def program(self, script: str) -> str:
        path = os.path.join(self.folder, "process")
        with open(path, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\n" + script + "\n")
        os.chmod(path, stat.S_IRWXU)
        return path


@needs_botocore
class Found(CredentialsCase):
    def test_each_source(self) -> None:
        process = json.dumps({"Version": 1, "AccessKeyId": key("process"), "SecretAccessKey": SECRET, "SessionToken": "a-session-token"})
        for what, environ, files, want in (
            ("a pair", {"AWS_ACCESS_KEY_ID": key("env"), "AWS_SECRET_ACCESS_KEY": SECRET}, {}, ("env", "", "environment variables")),
            (
                "a pair with its token",
                {"AWS_ACCESS_KEY_ID": key("env"), "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": "a-session-token"},
                {},
                ("env", "a-session-token", "AWS_SESSION_TOKEN"),
            ),
            ("AWS_PROFILE", {"AWS_PROFILE": "dev"}, {"credentials": profile("default", key("default")) + profile("dev", key("dev"))}, ("dev", "", "profile dev")),
            ("the profile default", {}, {"credentials": profile("default", key("default")) + profile("dev", key("dev"))}, ("default", "", "profile default")),
            ("a token of a profile", {}, {"credentials": profile("default", key("default"), "a-session-token")}, ("default", "a-session-token", "profile default")),
            ("a profile of the config file", {"AWS_PROFILE": "dev"}, {"config": profile("profile dev", key("dev"))}, ("dev", "", "profile dev")),
            ("an empty variable", {"AWS_PROFILE": "", "AWS_ACCESS_KEY_ID": ""}, {"credentials": profile("default", key("default"))}, ("default", "", "profile default")),
            (
                "credential_process",
                {"AWS_PROFILE": "p"},
                {"config": f"[profile p]\ncredential_process = {self.program('echo ' + repr(process))}\n"},
                ("process", "a-session-token", "the credential_process of profile p"),
            ),
            ("AWS_PROFILE before AWS_DEFAULT_PROFILE", {"AWS_PROFILE": "a", "AWS_DEFAULT_PROFILE": "b"}, {"credentials": profile("a", key("a")) + profile("b", key("b"))}, ("a", "", "profile a")),
            ("AWS_DEFAULT_PROFILE", {"AWS_DEFAULT_PROFILE": "b"}, {"credentials": profile("a", key("a")) + profile("b", key("b"))}, ("b", "", "profile b")),
            (
                "a pair before a profile, whatever the files are like",
                {"AWS_ACCESS_KEY_ID": key("env"), "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_PROFILE": "none"},
                {"credentials": "[broken\n", "config": "[broken\n"},
                ("env", "", "environment variables"),
            ),
        ):
            with self.subTest(what), mock.patch.dict(os.environ, environ):
                for file in ("credentials", "config"):
                    self.aws(file, files.get(file, ""))
                got = self.find()
                self.assertEqual((got.access_key_id, got.secret_access_key, got.session_token), (key(want[0]), SECRET, want[1]))
                self.assertIn(want[2], got.source)
                self.assertNotIn(SECRET, f"{got} {got!r} {[got]}")

    def test_files_elsewhere(self) -> None:
        for variable, text in (("AWS_SHARED_CREDENTIALS_FILE", profile("default", key("there"))), ("AWS_CONFIG_FILE", profile("default", key("there")))):
            path = os.path.join(self.folder, "there")
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            with mock.patch.dict(os.environ, {variable: path}):
                self.assertEqual(self.find().access_key_id, key("there"))

    def test_files_that_only_botocore_knows_are_not_read(self) -> None:
        # A session is not named after them, so that nobody could switch away from them.
        boto = os.path.join(self.folder, "boto")
        with open(boto, "w", encoding="utf-8") as f:
            f.write(f"[Credentials]\naws_access_key_id = {key('boto')}\naws_secret_access_key = {SECRET}\n")
        with mock.patch.dict(os.environ, {"BOTO_CONFIG": boto, "AWS_CREDENTIAL_FILE": boto}):
            self.not_found("auth.no_credentials")

    def test_without_a_home_no_files_are_read(self) -> None:
        self.aws("credentials", profile("default"))
        self.aws("config", profile("default"))
        del os.environ["HOME"]
        with mock.patch("os.path.expanduser", lambda path: path.replace("~", self.home)):
            self.not_found("auth.no_credentials", "HOME is not set")

    def test_one_order_for_keys_and_a_process(self) -> None:
        process = f'{{"Version": 1, "AccessKeyId": "{key("proc")}", "SecretAccessKey": "{SECRET}"}}'
        config = f"[profile p]\ncredential_process = {self.program('echo ' + repr(process))}\n"
        keys = f"aws_access_key_id = {key('keys')}\naws_secret_access_key = {SECRET}\n"
        os.environ["AWS_PROFILE"] = "p"
        self.aws("config", config + keys)
        self.assertEqual(self.find().access_key_id, key("proc"))
        self.aws("credentials", "[p]\n" + keys)
        self.aws("config", config)
        self.assertEqual(self.find().access_key_id, key("keys"))

    def test_a_web_identity_of_the_environment_comes_before_profiles(self) -> None:
        self.aws("config", "[default]\nrole_arn = arn:aws:iam::111122223333:role/a\nsource_profile = base\n" + profile("profile base"))
        os.environ.update(AWS_WEB_IDENTITY_TOKEN_FILE=os.path.join(self.folder, "none"), AWS_ROLE_ARN="arn:aws:iam::111122223333:role/b")
        self.not_found("auth.credentials_failed", "FileNotFoundError")


class _Metadata(http.server.BaseHTTPRequestHandler):
    asked: List[str] = []

    def reply(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    do_GET = do_PUT = reply

    def log_message(self, format: str, *args: object) -> None:
        pass


@needs_botocore
class Metadata(CredentialsCase):
    def setUp(self) -> None:
        super().setUp()
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Metadata)
        running = serving(server)
        running.__enter__()
        self.addCleanup(running.__exit__, None, None, None)
        _Metadata.asked.clear()
        del os.environ["AWS_EC2_METADATA_DISABLED"]
        os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = f"http://127.0.0.1:{server.server_address[1]}/"

    def test_it_is_asked_when_nothing_else_gave_credentials(self) -> None:
        self.not_found("auth.no_credentials", "instance metadata: nothing answered")
        self.assertTrue(_Metadata.asked)

    def test_it_is_not_asked_otherwise(self) -> None:
        self.aws("credentials", profile("default"))
        self.find()
        self.aws("config", "[default]\ndefaults_mode = auto\n")
        self.find()
        mode = credentials._Chain(os.environ, REGION)._session.get_config_variable("defaults_mode")
        self.assertEqual(mode, "legacy", "the mode auto would ask it for a region when a role is assumed")
        self.use_keys()
        self.find()
        self.assertEqual(_Metadata.asked, [])

    def test_it_is_not_asked_with_a_kept_session(self) -> None:
        operator = self.operator()
        self.use_keys()
        client = self.client(operator)
        client.whoami()
        client.whoami()
        self.assertEqual(_Metadata.asked, [])


@needs_botocore
class NotFound(CredentialsCase):
    def test_nothing(self) -> None:
        e = self.not_found("auth.no_credentials", "AWS_EC2_METADATA_DISABLED is set", "`aws configure`")
        for part in ("environment:", "web identity:", "profile default: it is neither in", "container:", "instance metadata:"):
            self.assertIn(part, e.message)
        self.assertEqual(e.kind, "unproven")
        self.aws("config", "[default]\nregion = us-west-2\n[profile dev]\n")
        self.not_found("auth.no_credentials", "profile default: it exists and names no credentials", "default, dev")

    def test_nothing_is_sent_without_credentials(self) -> None:
        operator = self.operator()
        self.refused(self.client(operator).whoami, "auth.no_credentials")
        self.assertEqual([str(s) for s in operator.seen], ["GET /v1/auth/challenge"])

    def test_half_a_pair(self) -> None:
        self.aws("credentials", profile("default"))
        for have, missing in (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")):
            with mock.patch.dict(os.environ, {have: SECRET}):
                self.not_found("auth.incomplete_credentials", f"{have} is set and {missing} is not")

    def test_a_profile_that_does_not_exist(self) -> None:
        self.aws("credentials", profile("default") + profile("dev"))
        os.environ["AWS_PROFILE"] = "prod"
        self.not_found("auth.profile_not_found", "the AWS profile prod does not exist", "default, dev")

    def test_half_a_profile(self) -> None:
        self.aws("credentials", f"[default]\naws_access_key_id = {KEY_ID}\n")
        self.not_found("auth.incomplete_credentials", "profile default", "aws_secret_access_key")

    def test_a_file_that_cannot_be_read(self) -> None:
        self.aws("config", f"[default\n{SECRET}\n")
        self.not_found("auth.config_unreadable", os.path.join(self.home, ".aws", "config"))

    def test_a_source_profile_that_does_not_exist(self) -> None:
        self.aws("config", "[default]\nrole_arn = arn:aws:iam::111122223333:role/a\nsource_profile = none\n")
        self.not_found("auth.config_unreadable", "profile default", "none")

    def test_profiles_that_assume_one_another(self) -> None:
        role = "role_arn = arn:aws:iam::111122223333:role/a\nsource_profile = "
        self.aws("config", f"[profile a]\n{role}b\n[profile b]\n{role}a\n")
        os.environ["AWS_PROFILE"] = "a"
        self.not_found("auth.profile_loop", "the source_profile of profile a leads in a circle: a, b, a")

    def test_sso_that_has_expired(self) -> None:
        legacy = "[profile dev]\nsso_start_url = https://x.awsapps.com/start\nsso_region = us-west-2\nsso_account_id = 111122223333\nsso_role_name = a\n"
        session = "[profile dev]\nsso_session = s\nsso_account_id = 111122223333\nsso_role_name = a\n[sso-session s]\nsso_region = us-west-2\nsso_start_url = https://x.awsapps.com/start\n"
        os.environ["AWS_PROFILE"] = "dev"
        for text in (legacy, session):
            self.aws("config", text)
            e = self.not_found("auth.credentials_expired", "the SSO login of profile dev")
            self.assertEqual(e.hint, "`aws sso login --profile dev`")

    def test_a_role_that_wants_a_code_is_not_asked_for(self) -> None:
        self.aws(
            "config",
            "[profile dev]\nrole_arn = arn:aws:iam::111122223333:role/a\nsource_profile = mid\n"
            "[profile mid]\nrole_arn = arn:aws:iam::111122223333:role/b\nsource_profile = base\nmfa_serial = arn:aws:iam::111122223333:mfa/x\n"
            + profile("profile base"),
        )
        os.environ["AWS_PROFILE"] = "dev"
        with mock.patch("getpass.getpass", side_effect=AssertionError("it asked")):
            self.not_found("auth.mfa_required", "profile mid", "--profile dev")

    def test_a_process_that_fails(self) -> None:
        for script, text in (
            (f"echo {SECRET}; echo 'the vault is' >&2; printf 'sealed\\033[2J' >&2; exit 3", "the vault is sealed [2J"),
            (f"echo {SECRET}", "nothing that can be read as credentials"),
            (f"printf '{SECRET}\\377'", "nothing that can be read as credentials"),
            (f"""echo '{{"Version": 1, "SecretAccessKey": "{SECRET}"}}'""", "AccessKeyId"),
            ("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1", "xxx"),
        ):
            with self.subTest(script):
                self.aws("config", f"[default]\ncredential_process = {self.program(script)}\n")
                e = self.not_found("auth.credential_process_failed", text)
                self.assertLess(len(e.message), 1200)
                self.assertNotIn("\033", e.message)
        self.aws("config", "[default]\ncredential_process = /nowhere/at/all\n")
        self.not_found("auth.credential_process_failed")

    def test_a_process_that_hangs(self) -> None:
        end = os.path.join(self.folder, "end")
        self.aws("config", f"[default]\ncredential_process = {self.program(f'while [ ! -e {end} ]; do sleep 0.05; done')}\n")
        before = time.monotonic()
        with mock.patch.object(credentials, "PATIENCE", 0.2):
            self.not_found("auth.credentials_timeout", "profile default")
        self.assertLess(time.monotonic() - before, 30)
        open(end, "w", encoding="utf-8").close()
        for thread in threading.enumerate():
            if thread.name == "cortex-credentials":
                thread.join(30)

    def test_what_has_not_the_form_of_credentials(self) -> None:
        for id, token in (("akia0000000000000000", ""), (KEY_ID + " ", ""), ("AKIA", ""), (KEY_ID, "two words"), (KEY_ID, "a" * 8193), (KEY_ID + "\n", "")):
            with mock.patch.dict(os.environ):
                self.use_keys(id, token=token)
                self.not_found("auth.credentials_malformed")

    def test_credentials_that_a_process_gave_and_that_have_expired(self) -> None:
        old = {"Version": 1, "AccessKeyId": KEY_ID, "SecretAccessKey": SECRET, "SessionToken": "a-session-token", "Expiration": "2020-01-01T00:00:00Z"}
        self.aws("config", f"[default]\ncredential_process = {self.program('echo ' + repr(json.dumps(old)))}\n")
        self.not_found("auth.credentials_expired", "profile default")


class Golden(IdentityCase):
    """The vectors that the Go implementations sign and verify, too."""

    def setUp(self) -> None:
        super().setUp()
        self.proofs: List[Dict[str, str]] = json.loads(PROOFS.read_text("utf-8"))
        self.assertGreaterEqual(len(self.proofs), 6, f"the vectors are missing in {PROOFS}")

    @needs_botocore
    def test_botocore_signs_the_same(self) -> None:
        for proof in self.proofs:
            with self.subTest(proof["name"]):
                keys = credentials.Keys(proof["access_key_id"], proof["secret_access_key"], proof["security_token"], "", "")
                binding = credentials.Binding(
                    proof["host"], proof["region"], proof["cluster_id"], proof["tls_fingerprint"], proof["nonce"]
                )
                self.assertEqual(credentials.sign(keys, binding, proof["amz_date"]), proof["signature"])

    def test_the_fake_operator_verifies_the_same(self) -> None:
        for proof in self.proofs:
            with self.subTest(proof["name"]):
                canonical = fake_operator.canonical_request(
                    proof["host"], proof["amz_date"], proof["security_token"], proof["cluster_id"], proof["nonce"], proof["tls_fingerprint"]
                )
                self.assertEqual(canonical, proof["canonical_request"])
                got = fake_operator.signature(proof["secret_access_key"], proof["region"], proof["amz_date"], canonical)
                self.assertEqual(got, proof["signature"])

    @needs_botocore
    def test_the_host_of_a_region(self) -> None:
        for region, host in (
            ("us-west-2", "sts.us-west-2.amazonaws.com"),
            ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
            ("us-gov-west-1", "sts.us-gov-west-1.amazonaws.com"),
            ("eu-central-1", "sts.eu-central-1.amazonaws.com"),
            ("mars-north-1", None),
        ):
            self.assertEqual(credentials.sts_host(region), host)


class Missing(IdentityCase):
    def test_without_botocore(self) -> None:
        operator = self.operator()
        self.use_keys()
        client = self.client(operator)
        with mock.patch.dict(sys.modules, {"botocore": None, "botocore.session": None}):
            e = self.refused(client.whoami, "auth.botocore_missing", "is not installed")
        self.assertEqual(e.hint, "pip install 'cortex[iam]'")
        self.assertEqual(operator.connections, 0)

    def test_the_local_environment_needs_none(self) -> None:
        with mock.patch.dict(sys.modules, {"botocore": None, "botocore.session": None}):
            self.assertEqual(self.client_of(recorder(json_reply("[]"))).list_apis(), [])


class Masks(unittest.TestCase):
    def test_an_id_is_shortened(self) -> None:
        self.assertEqual(credentials.mask("AKIAIOSFODNN7EXAMPLE"), "AKIA\u2026MPLE")
        self.assertEqual(credentials.mask("AKIA1234"), "***")
