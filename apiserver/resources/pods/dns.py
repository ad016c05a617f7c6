"""How a pod resolves names (upstream: validatePodDNSConfig, ValidateHostAliases)."""

from __future__ import annotations

from typing import Any

from apiserver.resources.checks import Errors, texts
from apiserver.resources.pods.names import check_names, subdomain_problems
from common.api.names import is_ip
from common.api.status import invalid_value, required

Spec = dict[str, Any]

MAX_NAMESERVERS, MAX_SEARCHES, MAX_SEARCH_CHARACTERS = 3, 32, 2048


def check_dns_config(errors: Errors, config: Spec | None, policy: str, path: str) -> None:
    if policy == "None":
        if config is None:
            errors.append(required(path, "must provide `dnsConfig` when `dnsPolicy` is None"))
            return
        if not config.get("nameservers"):
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            errors.append(required(f"{path}.nameservers", detail))
            return
    if config is None:
        return
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > MAX_NAMESERVERS:
        detail = f"must not have more than {MAX_NAMESERVERS} nameservers"
        errors.append(invalid_value(f"{path}.nameservers", servers, detail))
    for i, server in enumerate(servers):
        errors += texts(f"{path}.nameservers[{i}]", server, is_ip(server))
    if len(searches) > MAX_SEARCHES:
        detail = f"must not have more than {MAX_SEARCHES} search paths"
        errors.append(invalid_value(f"{path}.searches", searches, detail))
    if len(" ".join(searches)) > MAX_SEARCH_CHARACTERS:
        detail = f"must not have more than {MAX_SEARCH_CHARACTERS} characters (including spaces) in the search list"
        errors.append(invalid_value(f"{path}.searches", searches, detail))
    for i, search in enumerate(searches):
        name = search.removesuffix(".")
        check_names(errors, f"{path}.searches[{i}]", name, subdomain_problems(name))
    for i, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            errors.append(required(f"{path}.options[{i}]", "must not be empty"))


def check_host_aliases(errors: Errors, aliases: list[Spec], path: str) -> None:
    for i, alias in enumerate(aliases):
        ip = alias.get("ip", "")
        errors += texts(f"{path}[{i}].ip", ip, is_ip(ip))
        for j, name in enumerate(alias.get("hostnames") or ()):
            check_names(errors, f"{path}[{i}].hostnames[{j}]", name, subdomain_problems(name))
