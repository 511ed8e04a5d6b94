"""A host can be reached by what is said of it, or it is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from scheduler.validation.hosts import AddHost, EditHost, unreachable


@pytest.mark.parametrize(
    ("transport", "address", "uri", "words"),
    [
        ("unix", None, None, None),
        ("unix", None, "qemu:///system", None),
        ("ssh", "alpha", None, None),
        ("test", None, "test:///default", None),
        ("ssh", None, None, "needs an address"),
        ("test", None, None, "needs a test URI"),
        ("test", None, "qemu:///system", "needs a test URI"),
        ("unix", None, "test:///default", "is a simulated host"),
        ("tls", "alpha", None, None),
        ("tls", "alpha", "qemu+tls://alpha/system", None),
        ("tls", "alpha", "qemu+tls://alpha:16515/system?pkipath=/etc/sandboxd/pki", None),
        ("tls", None, "qemu+tls://alpha/system", "needs an address"),
        ("tls", "alpha", "qemu:///system", "is not a TLS URI"),
        ("tls", "alpha", "qemu+tls://beta/system", "does not lead to alpha"),
        ("tls", "alpha", "qemu+tls://root@alpha/system", "does not lead to alpha"),
        ("tls", "alpha", "qemu+tls://alpha:0/system", "does not lead to alpha"),
        ("tls", "alpha", "qemu+tls://alpha:65536/system", "does not lead to alpha"),
        ("tls", "alpha", "qemu+tls://alpha/system?no_verify=1", "may say pkipath=/DIR only"),
        ("tls", "alpha", "qemu+tls://alpha/system?pkipath=pki", "may say pkipath=/DIR only"),
        ("tls", "alpha", "qemu+tls://alpha/system?pkipath=", "may say pkipath=/DIR only"),
        ("unix", None, "qemu+tls://alpha/system", "is a host over TLS"),
        ("ssh", "alpha", "qemu+tls://alpha/system", "is a host over TLS"),
    ],
)
def test_transport_address_and_uri_fit(
    transport: str, address: str | None, uri: str | None, words: str | None
) -> None:
    fault = unreachable(transport, address, uri)
    fields = {"name": "alpha", "transport": transport, "address": address, "uri": uri}
    if words is None:
        assert fault is None
        assert AddHost.model_validate(fields).transport == transport
        return
    assert fault is not None
    assert words in fault[0]
    with pytest.raises(ValidationError):
        AddHost.model_validate(fields)


def test_an_edit_names_only_what_it_changes() -> None:
    assert EditHost.model_validate({"ratio_cpu": 2}).model_fields_set == {"ratio_cpu"}


def test_a_host_is_strict_about_types() -> None:
    with pytest.raises(ValidationError):
        AddHost.model_validate({"name": "alpha", "ssh_port": "22"})
