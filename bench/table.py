"""Makes a table for people, and a JSON file, of results that come one JSON object a line."""
import argparse
import json
import sys


def time_of(microseconds):
    if microseconds is None:
        return ""
    if microseconds < 1000:
        return f"{microseconds:.2f} us"
    if microseconds < 1e6:
        return f"{microseconds / 1e3:.2f} ms"
    return f"{microseconds / 1e6:.2f} s"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    results = [json.loads(line) for line in sys.stdin if line.strip()]
    width = max([len(result["name"]) for result in results] + [4])
    print(f"{'what':{width}} {'ours':>12} {'rival':>12} {'ratio':>8} {'target':>7}")
    for result in results:
        ratio = result.get("ratio")
        target = result.get("target") or 0
        missed = "  missed" if target and ratio is not None and ratio < target else ""
        print(
            f"{result['name']:{width}} {time_of(result['ours_us']):>12} "
            f"{time_of(result.get('rival_us')):>12} "
            f"{'' if ratio is None else f'{ratio:.2f}':>8} {target or '':>7}{missed}"
        )
    with open(arguments.output, "w") as output:
        json.dump(results, output, indent=1)
    print(f"JSON: {arguments.output}", file=sys.stderr)


main()
