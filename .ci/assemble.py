"""Assembles every PTX file with ptxas for the GPUs that it is for, and holds what ptxas says of each entry point against
the table in kernels/ptx/resources.tsv.

Usage: assemble.py PTXAS [--write]

Fails on a file that does not assemble, on an entry point that spills registers or needs local memory, and on a table that
does not say what was found; --write writes the table instead.
"""

import concurrent.futures
import pathlib
import re
import subprocess
import sys
import tempfile

TARGETS = [61, 75, 80, 90]
FOLDER = pathlib.Path(__file__).resolve().parent.parent / "kernels" / "ptx"
TABLE = FOLDER / "resources.tsv"
ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)


def assemble(ptxas, file, target):
    """{entry point: (registers, bytes of shared memory)} of a file; what is wrong with it."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        command = [ptxas, "-v", f"-arch=sm_{target}", "-o", cubin.name, file]
        run = subprocess.run(command, capture_output=True, text=True)
    text = run.stdout + run.stderr
    if run.returncode:
        return {}, [f"{file.name}, sm_{target}: {text.strip()}"]
    entries, wrong = {}, []
    for found in ENTRY.finditer(text):
        if any(int(found[bytes]) for bytes in ("stack", "stores", "loads")):
            wrong.append(f"{file.name}, sm_{target}: {found['name']} spills registers or needs local memory")
        shared = re.search(r"(\d+) bytes smem", found["rest"])
        entries[found["name"]] = (int(found["registers"]), int(shared[1]) if shared else 0)
    return entries, wrong


def main():
    ptxas, write = sys.argv[1], "--write" in sys.argv[2:]
    jobs = []
    for file in sorted(FOLDER.glob("*.ptx")):
        least = int(re.search(r"^\.target sm_(\d+)", file.read_text(), re.MULTILINE)[1])
        jobs += [(file, target) for target in TARGETS if target >= least]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda job: assemble(ptxas, *job), jobs))

    wrong, rows = [], {}
    for (file, target), (entries, faults) in zip(jobs, results):
        wrong += faults
        for name, (registers, shared) in entries.items():
            row = rows.setdefault((file.name, name), {"shared": shared})
            row[target] = registers
            if shared != row["shared"]:
                wrong.append(f"{file.name}: {name} has {shared} bytes of shared memory on sm_{target}, {row['shared']} before")
    lines = ["\t".join(["entry", "shared", *(f"sm_{target}" for target in TARGETS)])]
    for (_, name), row in sorted(rows.items(), key=lambda item: item[0][::-1]):
        lines.append("\t".join([name, str(row["shared"]), *(str(row.get(target, "-")) for target in TARGETS)]))
    table = "\n".join(lines) + "\n"
    if write:
        TABLE.write_text(table)
    elif table != TABLE.read_text():
        there = TABLE.read_text().splitlines()
        wrong += [f"{TABLE.name}: expected {line!r}" for line in lines if line not in there]
        wrong += [f"{TABLE.name}: found {line!r}" for line in there if line not in lines]
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(jobs)} assemblies, {len(rows)} entry points, {len(wrong)} faults")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
