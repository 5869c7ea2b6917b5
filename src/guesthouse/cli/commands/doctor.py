"""``guesthouse doctor``: what this machine offers, and what is missing for what."""

from __future__ import annotations

from guesthouse.cli import machine, options, output


def command(*, json: options.Json = False) -> int:
    """Show what this machine offers: engine, kernel features, GPU, NATS, server, versions.

    The exit code is 1 when something that every host needs is missing.
    """
    checks = machine.examine()
    if json:
        output.print_json([check.as_dict() for check in checks])
    else:
        marks = {machine.OK: "ok", machine.ABSENT: "absent", machine.BROKEN: "BROKEN"}
        rows = [
            {"": marks[check.state], "what": check.what, "found": check.found, "for": check.purpose}
            for check in checks
        ]
        output.print_table(rows, ("", "what", "found", "for"))
    return int(any(check.state == machine.BROKEN for check in checks))
