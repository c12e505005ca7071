"""What the commands share: what the settings make of a process, with a host and without."""

from __future__ import annotations

import pytest

from provider.cli.form import membership
from provider.errors import StartError
from provider.lattice.host_data import HostData
from provider.lattice.joining import Joining, join
from provider.lattice.membership import Membership
from provider.lattice.nkeys import KeyPair, Kind
from provider.settings import load
from provider.wire.wasmbus import LinkDefinition

ISSUER = KeyPair.generate(Kind.CLUSTER).public
LINK = LinkDefinition(actor_id="MACTOR", values={})


def joined(
    host_id: str = "NHOST", cluster_issuers: frozenset[str] = frozenset({ISSUER})
) -> Joining:
    return join(
        HostData(
            host_id=host_id,
            lattice_rpc_prefix="prod",
            link_name="link",
            lattice_rpc_url="127.0.0.1:4223",
            provider_key="VPROV",
            cluster_issuers=cluster_issuers,
            link_definitions=(LINK,),
        ),
        {},
    )


@pytest.mark.parametrize("strict", ["on", "off"])
@pytest.mark.parametrize("host", ["NHOST", "_TEST_"])
def test_a_host_makes_us_a_member_of_its_lattice(host, strict):
    joining = joined(host_id=host)
    settings = load(environ={"PROVIDER_STRICT": strict}, launch=joining.launch)
    assert membership(settings, joining) == Membership(
        cluster_issuers=frozenset({ISSUER}),
        host_id=host,
        links=(LINK,),
        test_mode=host == "_TEST_",
        strict=strict == "on",
    )


def test_a_host_without_issuers_makes_us_a_member_who_believes_nobody():
    joining = joined(cluster_issuers=frozenset())
    settings = load(environ={"PROVIDER_CLUSTER_ISSUERS": "C" * 56}, launch=joining.launch)
    member = membership(settings, joining)
    assert member is not None
    assert member.cluster_issuers == frozenset()


def test_without_a_host_the_settings_make_us_a_member_or_not():
    assert membership(load(environ={}, env_file=False), None) is None
    environ = {"PROVIDER_CLUSTER_ISSUERS": "C" * 56, "PROVIDER_STRICT": "on"}
    assert membership(load(environ=environ, env_file=False), None) == Membership(
        cluster_issuers=frozenset({"C" * 56}), strict=True
    )


def test_strict_without_a_key_that_may_sign_would_answer_nobody():
    settings = load(environ={"PROVIDER_STRICT": "on"}, env_file=False)
    with pytest.raises(StartError, match="PROVIDER_CLUSTER_ISSUERS"):
        membership(settings, None)
