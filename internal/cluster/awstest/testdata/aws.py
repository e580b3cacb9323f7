"""Runs commands of the AWS command line, all in one process: starting Python for each
takes a second. Reads a list of argument lists as JSON, writes one JSON line for each with
its exit code, output and complaints."""
import contextlib
import io
import json
import sys

import awscli.clidriver

driver = awscli.clidriver.create_clidriver()
for arguments in json.load(sys.stdin):
    out, complaints = io.StringIO(), io.StringIO()
    out.buffer = io.BytesIO()  # what is no text is written to it
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(complaints):
        try:
            code = driver.main(arguments)
        except SystemExit as e:
            code = e.code
    print(json.dumps({"code": code, "out": out.getvalue(), "complaints": complaints.getvalue()}), flush=True)
