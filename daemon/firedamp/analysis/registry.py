# SPDX-License-Identifier: Apache-2.0
"""Every analyser and every derived field there is, in one place to read."""

from collections.abc import Mapping
from types import MappingProxyType

from firedamp.analysis.base import Analyser, DerivedField
from firedamp.analysis.cpu import SustainedCpu
from firedamp.analysis.dns import DnsTraffic
from firedamp.analysis.indicators import pool_indicator, pool_name_token
from firedamp.analysis.lineage import ancestor_images
from firedamp.analysis.masquerade import masquerade
from firedamp.analysis.origin import image_origin, image_place, is_found
from firedamp.analysis.script import script_path, script_place
from firedamp.analysis.stratum import MiningProtocols
from firedamp.analysis.wallets import wallet_kind
from firedamp.settings import Settings

DERIVED_FIELDS: Mapping[str, DerivedField] = MappingProxyType(
    {
        "AncestorImage": ancestor_images,
        "ImageOrigin": image_origin,
        "ImagePlace": image_place,
        "IsFound": is_found,
        "Masquerade": masquerade,
        "PoolIndicator": pool_indicator,
        "PoolNameToken": pool_name_token,
        "ScriptPath": script_path,
        "ScriptPlace": script_place,
        "WalletKind": wallet_kind,
    }
)
"""Worked out only when a policy asks. Every category that is bound to a process has them all."""


def analysers(settings: Settings) -> tuple[Analyser, ...]:
    """New analysers, in the order in which they are fed; each keeps the memory of one host."""
    sources = settings.sources
    return (
        MiningProtocols(),
        DnsTraffic(),
        SustainedCpu(window_s=sources.cpu_window_s, cores=sources.cpu_cores),
    )
