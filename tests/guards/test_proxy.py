"""The nginx of the documentation does in each location what it must."""

import re

from tests.fixtures.pages import ROOT

NEEDED = {
    "proxy_http_version 1.1",
    'proxy_set_header Connection ""',
    "proxy_set_header Host $host",
    "proxy_set_header X-Request-Id $request_id",
    "proxy_set_header X-Forwarded-For $remote_addr",  # a client's own is not to be believed
}


def test_each_location_that_leads_to_the_api_sets_every_header() -> None:
    text = (ROOT / "docs" / "behind-a-proxy.md").read_text()
    locations = re.findall(r"location ([^{]+) \{(.*?)\}", text, re.DOTALL)
    leading = {where: body for where, body in locations if "proxy_pass" in body}
    assert len(leading) == text.count("proxy_pass") == 3
    for where, body in leading.items():
        assert {line.strip() for line in body.split(";")} >= NEEDED, where
