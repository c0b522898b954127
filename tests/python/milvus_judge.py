"""Fills a real Milvus server 2.3 with collections of every kind that a restore must bring back, and says what is in them.

    milvus_judge.py HOST:PORT fill DATABASE [--rows N] [--seed N]     databases DATABASE and DATABASE_two, five collections
    milvus_judge.py HOST:PORT large DATABASE [--rows N] [--seed N]    DATABASE.large: two partitions, several segments, 384 numbers
    milvus_judge.py HOST:PORT rows DATABASE.COLLECTION                every row as JSON: {"count": N, "rows": {key: digest}, ...}
    milvus_judge.py HOST:PORT compare DATABASE.COLLECTION DATABASE.COLLECTION... [--other HOST:PORT]    one or more pairs
    milvus_judge.py HOST:PORT search DATABASE.COLLECTION DATABASE.COLLECTION... [--other HOST:PORT]   the same searches in both of a pair: a FLAT index
                      finds the same rows in the same order at the same distances, any other one nearly all of them
    milvus_judge.py HOST:PORT grow DATABASE [--rows N]    rows in DATABASE.plain, which is made first, nothing flushed after them; and
                      deletes of some that were there
    milvus_judge.py HOST:PORT drop DATABASE...
    milvus_judge.py HOST:PORT lose|change DATABASE        two rows of its one collection, a `plain`, once all imports into it ended
    milvus_judge.py HOST:PORT take DATABASE OTHER --from FOLDER   a backup in the layout of milvus-backup, restored as that tool
                      does: its collections of DATABASE and DATABASE_two into OTHER and OTHER_two
    milvus_judge.py HOST:PORT stored DATABASE.COLLECTION              rows in its segments, deleted ones included
    milvus_judge.py HOST:PORT digest DATABASE.COLLECTION [--no-partitions | --by-partition] [--parsed-json]
                      rows and row digest (host/source/src/rows.rs), from Query; JSON as it is stored, or as Python would write it
    milvus_judge.py HOST:PORT filter DATABASE.COLLECTION EXPRESSION   how many rows a filter finds
    milvus_judge.py HOST:PORT aliases DATABASE.COLLECTION             what ListAliases answers to a database in the request ("field"), in
                      the call's metadata ("header"), in both: names, or null for an error
    milvus_judge.py HOST:PORT corpus DATABASE --storage ROOT --to FOLDER   files, schema, rows and row digest of its collections

Keys, scalars and vectors are compared bit for bit; so are count(*), schema, properties (but for the time to live, which
no backup holds), shards, partitions, indexes. Only pymilvus' generated messages are used, so what is compared is what the
wire says. Exit 1 and a sentence for each difference.
"""

import argparse
import json
import sys

from milvus_calls import Server
from milvus_compare import aliases_by, compare, search
from milvus_digest import corpus, row_digest
from milvus_fill import fill, fill_large, grow, interfere
from milvus_take import take


def drop(server, databases):
    for database in databases:
        server.drop_database(database)


def rows(server, where):
    server.ensure_loaded([where])
    aliases = list(server.describe(*where).aliases)
    return {"count": server.count(*where), "aliases": aliases, "rows": server.rows(*where)}


def digest(server, where, arguments):
    server.ensure_loaded([where])
    return row_digest(server, where, not arguments.no_partitions, arguments.parsed_json, arguments.by_partition)


def filtered(server, where, expression):
    server.ensure_loaded([where])
    return {"count": server.count(*where, expression)}


# Each gives what is printed as JSON, or nothing; those of the second list also sentences about what is different.
ACTIONS = {
    "fill": lambda server, a: fill(server, a.names[0], a.rows, a.seed),
    "large": lambda server, a: fill_large(server, a.names[0], a.rows, a.seed),
    "grow": lambda server, a: grow(server, a.names[0], a.rows),
    "drop": lambda server, a: drop(server, a.names),
    "lose": lambda server, a: interfere(server, a.names[0], a.action),
    "change": lambda server, a: interfere(server, a.names[0], a.action),
    "take": lambda server, a: take(server, *a.names, a.source),
    "corpus": lambda server, a: corpus(server, a.names[0], a.storage, a.to),
    "rows": lambda server, a: rows(server, split(a.names[0])),
    "stored": lambda server, a: {"count": server.stored(*split(a.names[0]))},
    "digest": lambda server, a: digest(server, split(a.names[0]), a),
    "filter": lambda server, a: filtered(server, split(a.names[0]), a.names[1]),
    "aliases": lambda server, a: aliases_by(server, *split(a.names[0])),
}
COMPARISONS = {"compare": compare, "search": search}


def split(name):
    return tuple(name.split(".", 1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("action", choices=[*ACTIONS, *COMPARISONS])
    parser.add_argument("names", nargs="+")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--other")
    parser.add_argument("--no-partitions", action="store_true")
    parser.add_argument("--by-partition", action="store_true")
    parser.add_argument("--parsed-json", action="store_true")
    parser.add_argument("--storage")
    parser.add_argument("--to")
    parser.add_argument("--from", dest="source")
    arguments = parser.parse_args()
    server = Server(arguments.server)
    said = []
    if arguments.action in ACTIONS:
        answer = ACTIONS[arguments.action](server, arguments)
    else:
        second = Server(arguments.other) if arguments.other else server
        names = [split(name) for name in arguments.names]
        answer, said = COMPARISONS[arguments.action](server, second, list(zip(names[::2], names[1::2])))
    if answer is not None:
        print(json.dumps(answer))
    for sentence in said:
        print(sentence)
    sys.exit(bool(said))


main()
