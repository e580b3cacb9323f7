"""cli.yaml, and choosing among its environments."""

from __future__ import annotations

import os
import random
import stat
import sys
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cortex
from cortex import environment
from tests.support import TestCase, json_reply, recorder

WRITTEN_BY_THE_COMMAND_LINE = """\
telemetry: false
default_environment: production
environments:
- name: local
  aws_access_key_id: AKIA0
  aws_secret_access_key: "a+b/c: d#e"
  api_port: 9000
- name: production
  operator_endpoint: https://operator.example.com
"""

WRITTEN_BY_HAND = """\
---
# mine
default_environment: 'it''s mine'   # really
environments:
  # the first
  - name: "it's mine"
    operator_endpoint: http://localhost:8888

  -   operator_endpoint: https://b.example.com/p#ath  # no comment inside
      name: b
      provider: aws
"""


class Reading(TestCase):
    def test_what_the_command_line_writes(self) -> None:
        self.assertEqual(
            environment.parse(WRITTEN_BY_THE_COMMAND_LINE),
            {
                "telemetry": False,
                "default_environment": "production",
                "environments": [
                    {
                        "name": "local",
                        "aws_access_key_id": "AKIA0",
                        "aws_secret_access_key": "a+b/c: d#e",
                        "api_port": 9000,
                    },
                    {"name": "production", "operator_endpoint": "https://operator.example.com"},
                ],
            },
        )

    def test_what_people_write(self) -> None:
        self.assertEqual(
            environment.parse(WRITTEN_BY_HAND),
            {
                "default_environment": "it's mine",
                "environments": [
                    {"name": "it's mine", "operator_endpoint": "http://localhost:8888"},
                    {"operator_endpoint": "https://b.example.com/p#ath", "name": "b", "provider": "aws"},
                ],
            },
        )

    def test_this_machine_does_not_count_in_the_choice(self) -> None:
        local = {"name": "local", "provider": "local"}
        prod = {"name": "prod", "operator_endpoint": "https://x"}
        for environments, want in (([local, prod], prod), ([local], local), ([], {"name": "local"})):
            with self.subTest(environments):
                config = environment.Config({"environments": environments}, "cli.yaml")
                self.assertEqual(config.choose(None), want)

    def test_nothing(self) -> None:
        for text in ("", "\n\n", "# nothing\n", "---\n", "{}\n", "environments: []\n", "environments:\n"):
            with self.subTest(text):
                self.assertFalse(environment.parse(text).get("environments"))

    def test_what_is_refused(self) -> None:
        for text, why in (
            ("environments: {a: b}\n", "line 1: '{a: b}' is more YAML"),
            ("environments: [a]\n", "line 1: '[a]' is more YAML"),
            ("a: &x y\n", "line 1: '&x y' is more YAML"),
            ("a: |\n  text\n", "line 1: '|' is more YAML"),
            ("environments:\n- a\n", "line 2: 'a' is not a `key: value`"),
            ("environments:\n-\n", "line 2: an empty item"),
            ("environments:\n- name: a\n  apis:\n  - x: y\n", "line 4: this does not belong"),
            ("a: b\n  c: d\n", "line 2: this does not belong"),
            ("a: b\na: c\n", "line 2: a is there twice"),
            ("\ta: b\n", "line 1: it is indented by a tab"),
            ('a: "b\n', "line 1: a quote that does not end"),
            ('a: "b" c\n', "line 1: a quote that does not end"),
            ('a: "\\q"\n', "line 1: an escape"),
            ("just text\n", "line 1: 'just text' is no"),
            ("a: b: c\n", "line 1: 'b: c' is more YAML"),
        ):
            with self.subTest(text), self.assertRaises(ValueError) as caught:
                environment.parse(text)
            self.assertIn(why, str(caught.exception))

    def test_what_is_written_is_read_back(self) -> None:
        rng = random.Random(1)
        alphabet = "ab1 \t:#'\"\\-+./=,[]{}&*!|>%@`~?\n\u00fc\u2028\x85\x01\U0001f600"
        for i in range(3000):
            value = "".join(rng.choice(alphabet) for _ in range(rng.randrange(8)))
            content = {"default_environment": value, "environments": [{"name": value, "n": i, "b": True, "x": None}]}
            self.assertEqual(environment.parse(environment.dump(content)), content)
            self.assertEqual(len(environment.dump(content).splitlines()), 6, "no value looks like a line's end to anybody")
        for value in ("true", "No", "null", "~", "12", "1e3", "0x1", "1.5", "-", "2026-03-14", ".inf", ""):
            content = {"a": value}
            self.assertEqual(environment.parse(environment.dump(content)), content)
            self.assertIn('"', environment.dump(content), f"{value} is written as if it were text to every reader")

    def test_anything_else_is_read_or_refused(self) -> None:
        rng = random.Random(2)
        pieces = ["a", "name", ": ", ":", "- ", "-", "\n", "\n  ", "\n    ", '"', "'", "#", " #", "\\", "[]", "{", "\t", "1", "\u2028"]
        for _ in range(20000):
            text = "".join(rng.choice(pieces) for _ in range(rng.randrange(14)))
            try:
                environment.parse(text)
            except ValueError:
                pass


class Choosing(TestCase):
    def write(self, text: str) -> None:
        os.makedirs(self.config_dir, exist_ok=True)
        with open(os.path.join(self.config_dir, "cli.yaml"), "w", encoding="utf-8") as f:
            f.write(text)

    def test_without_a_file_it_is_this_machine(self) -> None:
        client = cortex.client()
        self.assertEqual((client.env_name, client.env), ("local", {"name": "local"}))
        self.assertEqual(cortex.env_list(), [{"name": "local"}])

    def test_the_default(self) -> None:
        self.write(WRITTEN_BY_THE_COMMAND_LINE)
        self.assertEqual(cortex.client().env_name, "production")
        self.assertEqual(cortex.client("local").env_name, "local")
        self.assertEqual(
            cortex.env_list(),
            [{"name": "local"}, {"name": "production", "operator_endpoint": "https://operator.example.com"}],
        )

    def test_the_only_one(self) -> None:
        self.write("environments:\n- name: a\n  operator_endpoint: a.example.com\n")
        client = cortex.client()
        self.assertEqual(client.env, {"name": "a", "operator_endpoint": "https://a.example.com"})

    def test_none_of_several(self) -> None:
        self.write("environments:\n- name: a\n  operator_endpoint: a\n- name: b\n  operator_endpoint: b\n")
        with self.assertRaises(cortex.NotFound) as caught:
            cortex.client()
        self.assertEqual(caught.exception.code, "cli.environment_not_set")

    def test_one_that_is_not_there(self) -> None:
        self.write(WRITTEN_BY_THE_COMMAND_LINE)
        with self.assertRaises(cortex.NotFound) as caught:
            cortex.client("staging")
        self.assertEqual(caught.exception.code, "cliconfig.environment_not_configured")
        self.assertIn("local, production", caught.exception.hint)

    def test_files_that_cannot_be_used(self) -> None:
        for text, code in (
            ("environments: 7\n", "configreader.invalid_yaml"),
            ("environments:\n- nam: a\n", "configreader.invalid_yaml"),
            ("environments:\n- name: a\n- name: a\n", "cliconfig.duplicate_environment_names"),
            ("#" * (2 << 20), "configreader.invalid_yaml"),
        ):
            with self.subTest(text[:40]):
                self.write(text)
                with self.assertRaises(cortex.CortexException) as caught:
                    cortex.client()
                self.assertEqual(caught.exception.code, code)
                self.assertIn("cli.yaml", str(caught.exception))
        with open(os.path.join(self.config_dir, "cli.yaml"), "wb") as f:
            f.write(b"a: \xff\n")
        with self.assertRaisesRegex(cortex.CortexException, "not valid UTF-8"):
            cortex.env_list()


class Changing(TestCase):
    def test_a_new_environment(self) -> None:
        endpoint = self.endpoint_of(recorder(json_reply('{"version":"1"}')))
        client = cortex.new_client("staging", endpoint + "/")
        self.assertEqual(client.env, {"name": "staging", "operator_endpoint": endpoint})
        self.assertEqual(cortex.client().env_name, "staging", "the first environment becomes the default")
        cortex.new_client("other", endpoint)
        self.assertEqual(cortex.client().env_name, "staging", "a second one does not")
        path = os.path.join(self.config_dir, "cli.yaml")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(os.listdir(self.config_dir), ["cli.yaml"])
        cortex.env_delete("staging")
        self.assertEqual([e["name"] for e in cortex.env_list()], ["local", "other"])
        self.assertEqual(cortex.client().env_name, "other", "the only one that is left")

    def test_what_is_not_known_is_kept(self) -> None:
        Choosing.write(self, WRITTEN_BY_THE_COMMAND_LINE)  # type: ignore[arg-type]
        endpoint = self.endpoint_of(recorder(json_reply("{}")))
        cortex.new_client("staging", endpoint)
        with open(os.path.join(self.config_dir, "cli.yaml"), encoding="utf-8") as f:
            self.assertEqual(
                f.read(), WRITTEN_BY_THE_COMMAND_LINE + f"- name: staging\n  operator_endpoint: {endpoint}\n"
            )

    def test_nothing_changes_without_an_operator(self) -> None:
        with self.assertRaises(cortex.CortexException):
            cortex.new_client("staging", "http://127.0.0.1:1")
        self.assertEqual(cortex.env_list(), [{"name": "local"}])

    def test_a_change_that_fails_leaves_nothing_behind(self) -> None:
        endpoint = self.endpoint_of(recorder(json_reply("{}")))
        with mock.patch("os.replace", side_effect=OSError("disk full")), self.assertRaises(OSError):
            cortex.new_client("staging", endpoint)
        self.assertEqual(os.listdir(self.config_dir), [])

    def test_a_file_that_could_not_be_read_again_is_not_written(self) -> None:
        cortex.new_client("staging", self.endpoint_of(recorder(json_reply("{}"))))
        with self.assertRaises(cortex.CortexException) as caught, environment.change() as config:
            config.put({"name": "large", "operator_endpoint": "https://x", "operator_ca_data": "A" * (1 << 20)})
        self.assertIn("larger than", str(caught.exception))
        self.assertEqual([e["name"] for e in cortex.env_list()], ["local", "staging"])

    def test_what_cannot_be_an_environment(self) -> None:
        for name in ("", "a b", "a/b", "x" * 64, "local"):
            with self.subTest(name), self.assertRaises(cortex.CortexException) as caught:
                cortex.new_client(name, "http://127.0.0.1:1")
            self.assertIn(caught.exception.code, ("configreader.invalid_str", "configreader.disallowed_value"))
        for endpoint in ("", "ftp://x", "http://", "http://u:p@x", "http://x?y", "http://x:99999", "http://a b", "http://[::1"):
            with self.subTest(endpoint), self.assertRaises(cortex.CortexException) as caught:
                cortex.new_client("x", endpoint)
            self.assertEqual(caught.exception.code, "cli.invalid_operator_endpoint")

    def test_deleting_what_is_not_there(self) -> None:
        for name in ("staging", "local"):
            with self.subTest(name), self.assertRaises(cortex.NotFound):
                cortex.env_delete(name)
