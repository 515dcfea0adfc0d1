"""Render the chart by Helm's own code: values as JSON on stdin, templates as JSON on stdout.

What `--set` would say may follow the chart's folder, of values that stdin does not have. In an environment
of its own, which has Helm (`make chart`). A refusal is one text on stderr, and status 1.
"""

import json
import sys

import helm_python

if __name__ == "__main__":
    try:
        values = json.load(sys.stdin)
        for said in sys.argv[2:]:
            values |= helm_python.parse_set_string(said)
        with helm_python.Chart.load(sys.argv[1]) as chart:
            found = chart.render(values, name="darkroom", namespace="darkroom", is_install=True)
    except helm_python.HelmError as refused:
        sys.exit(str(refused))
    json.dump(found, sys.stdout)
