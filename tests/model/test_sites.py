"""Names of nodes and sites: parse, print, order, and what a wrong one is told."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsecircuits.errors import ConfigError
from sparsecircuits.model import SITES, Node, Site, SiteName


def test_a_node_parses_and_prints():
    node = Node.parse("3.mlp.post_act.812")
    assert node == Node(SiteName(3, "mlp.post_act"), 812)
    assert (node.layer, node.site, node.index) == (3, "mlp.post_act", 812)
    assert str(node) == "3.mlp.post_act.812"


def test_a_site_parses_and_prints():
    assert SiteName.parse("0.attn.resid_delta") == SiteName(0, "attn.resid_delta")
    assert str(SiteName(12, "attn.q")) == "12.attn.q"
    assert str(SiteName.parse("final_resid")) == "final_resid"
    assert str(Node.parse("final_resid.7")) == "final_resid.7"


@given(st.integers(0, 99), st.sampled_from(SITES), st.integers(0, 99_999))
def test_every_name_comes_back(layer: int, site: str, index: int):
    node = Node(SiteName(layer, site), index)
    assert Node.parse(str(node)) == node
    assert SiteName.parse(str(node.at)) == node.at


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("0.mlp.post_akt.5", "'0.mlp.post_akt.5': no site 'mlp.post_akt'; did you mean 'mlp.post_act'"),
        ("0.attn.z.5", "no site 'attn.z'; did you mean 'attn"),
        ("final_reside.5", "no site 'final_reside'; did you mean 'final_resid'?"),
        ("0.final_resid.5", "'0.final_resid.5': final_resid has no layer"),
        ("mlp.post_act.5", "the layer is missing, as in 0.mlp.post_act.5"),
        ("0.mlp.post_act", "is a site, not a node"),
        ("0.mlp.post_act.-1", "is not LAYER.SITE or LAYER.SITE.INDEX"),
        ("-1.mlp.post_act.1", "is not LAYER.SITE or LAYER.SITE.INDEX"),
        ("0.MLP.post_act.1", "is not LAYER.SITE or LAYER.SITE.INDEX"),
        ("0.mlp.post_act.1\n", "is not LAYER.SITE or LAYER.SITE.INDEX"),
        ("", "'' is not LAYER.SITE"),
    ],
)
def test_a_wrong_node_is_told_what_is_meant(name: str, message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        Node.parse(name)


def test_a_node_is_not_a_site():
    with pytest.raises(ConfigError, match=r"'0\.attn\.q\.1' is a node, not a site"):
        SiteName.parse("0.attn.q.1")


def test_nodes_sort_as_the_forward_visits_them():
    names = [
        "0.attn.act_in.10",
        "0.attn.q.2",
        "0.attn.q.10",
        "0.attn.k.0",
        "0.attn.v.0",
        "0.attn.resid_delta.0",
        "0.mlp.act_in.0",
        "0.mlp.post_act.0",
        "0.mlp.resid_delta.0",
        "1.attn.act_in.0",
        "10.attn.act_in.0",
        "final_resid.0",
    ]
    nodes = [Node.parse(name) for name in names]
    shuffled = nodes[1::2] + nodes[::2]
    assert sorted(shuffled) == nodes
    assert sorted(node.at for node in shuffled) == [node.at for node in nodes]
    assert nodes[0] < nodes[1] <= nodes[1]
    assert nodes[-1] >= nodes[0]


def test_a_site_applies_abs_topk_and_hands_the_tensor_on():
    x = torch.tensor([1.0, -3.0, 2.0])
    assert Site("0.attn.q")(x) is x
    assert Site("0.attn.q", k=1)(x).tolist() == [0.0, -3.0, 0.0]
    assert repr(Site("0.attn.q", k=1)) == "Site(0.attn.q, k=1)"
