#!/usr/bin/env python3
"""Prints a CycloneDX 1.6 bill of materials: what is linked into the program, and nothing that only builds or tests it.

From `cargo metadata`, so it is what the lock file says; hashes are those that cargo checks downloads against.
"""

import json
import pathlib
import subprocess
import tomllib

TARGET = "x86_64-unknown-linux-gnu"


def main():
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--no-default-features", "--features", "age", "--filter-platform", TARGET]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    root = metadata["resolve"]["root"]
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    linked = {root}
    todo = [root]
    while todo:
        for dependency in nodes[todo.pop()]["deps"]:
            normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if normal and dependency["pkg"] not in linked:
                linked.add(dependency["pkg"])
                todo.append(dependency["pkg"])
    lock = pathlib.Path(metadata["workspace_root"], "Cargo.lock").read_text()
    hashes = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.loads(lock)["package"]}
    packages = {package["id"]: package for package in metadata["packages"]}

    def component(identity):
        package = packages[identity]
        name, version = package["name"], package["version"]
        purl = f"pkg:cargo/{name}@{version}"
        told = {
            "type": "application" if identity == root else "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "purl": purl,
        }
        if package.get("license"):
            told["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        if hashes.get((name, version)):
            told["hashes"] = [{"alg": "SHA-256", "content": hashes[name, version]}]
        return told

    def reference(identity):
        return f"pkg:cargo/{packages[identity]['name']}@{packages[identity]['version']}"

    def needs(identity):
        return sorted({reference(d["pkg"]) for d in nodes[identity]["deps"] if d["pkg"] in linked})

    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": component(root)},
        "components": [component(identity) for identity in sorted(linked - {root})],
        "dependencies": [{"ref": reference(i), "dependsOn": needs(i)} for i in sorted(linked)],
    }
    print(json.dumps(bill, indent=1))


if __name__ == "__main__":
    main()
