#!/usr/bin/env bash
# Restores what backup_neo4j.sh made. See docs/how-to/back-up-and-restore.md.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: restore_neo4j.sh [--check] [--force] BACKUP

Restores a folder rag-engine-<time> that backup_neo4j.sh made. It is checked from end to end before
anything is written, and what was written is looked at afterwards. Stop workers meanwhile; where a
dump is loaded, stop everything that uses the database, and start it afterwards.

  --check  only check the backup
  --force  replace what is there; without it nothing is overwritten

Archives are restored by `rag-engine restore` into the database that the environment, or .env in the
folder it is started in, names. A dump is loaded in place of the whole database.

  ENGINE_COMMAND  the command                                        rag-engine

For a dump:
  NEO4J_ADMIN     the command                                        neo4j-admin
  NEO4J_STOP      stops the server, and returns when it is down      neo4j stop
  NEO4J_START     starts it, and returns when it answers             neo4j start
  NEO4J_DATABASE  the database                                       that of .env, else the one that
                                                                     was dumped
  RAG_DATA_DIR    the folder for the originals                       no default

Exit codes: 0 all is there; 2 wrong usage, the backup is not whole, or something is there already: nothing
was written; 3 it could not be restored; 130 interrupted.
TEXT
}

say() { echo "restore_neo4j.sh: $*" >&2; }
wrong() { say "$*"; usage >&2; exit 2; }
refuse() { say "$*"; exit 2; }
fail() { say "$*"; exit 3; }

named_database() { # as rag-engine reads it: of the environment, then of .env in this folder
  if [ -n "${NEO4J_DATABASE:-}" ]; then
    echo "$NEO4J_DATABASE"
  elif [ -f .env ]; then
    sed -nE 's/^[[:space:]]*(export[[:space:]]+)?NEO4J_DATABASE[[:space:]]*=[[:space:]]*//p' .env |
      tail -n 1 | sed -E "s/(^|[[:space:]]+)#.*//; s/[[:space:]]+$//; s/^(['\"])(.*)\1$/\2/"
  fi
}

check=no force=no backup=''
while [ $# -gt 0 ]; do
  case $1 in
    --check) check=yes ;;
    --force) force=yes ;;
    -h | --help) usage; exit 0 ;;
    -*) wrong "There is no option $1." ;;
    *)
      [ -z "$backup" ] || wrong "One backup, please."
      backup=$1
      ;;
  esac
  shift
done
[ -n "$backup" ] || wrong "Which one? Name a backup."
[ -d "$backup" ] || wrong "There is no folder $backup."
[[ "$(basename "$backup")" != .* ]] || refuse "$backup was never finished. Take another backup."

# The command may have arguments: docker compose exec api rag-engine
# shellcheck disable=SC2206
engine=(${ENGINE_COMMAND:-rag-engine})

if [ ! -e "$backup/blobs.tar" ]; then
  [ "$check" = yes ] || [ -n "${NEO4J_URI:-}" ] || grep -qs '^NEO4J_URI=.' .env ||
    wrong "NEO4J_URI is not set, in the environment or in .env of $PWD."
  options=()
  [ "$check" = no ] || options+=(--check)
  [ "$force" = no ] || options+=(--force)
  exec "${engine[@]}" restore "$backup" "${options[@]}"
fi

[ -f "$backup/SHA256SUMS" ] || refuse "$backup has no SHA256SUMS: it is not whole. Take another backup."
(cd "$backup" && sha256sum --check --strict --quiet SHA256SUMS) ||
  refuse "$backup is not what was written. Take another backup."
listed=$(cd "$backup" && sed 's/^[0-9a-f]*  //' SHA256SUMS | LC_ALL=C sort)
found=$(cd "$backup" && find . -type f ! -name SHA256SUMS -printf '%P\n' | LC_ALL=C sort)
[ "$listed" = "$found" ] || refuse "$backup lacks files, or has others. Take another backup."
for line in '"format": "rag-engine-backup",' '"version": 1,' '"kind": "dump",'; do
  grep -qF -- "$line" "$backup/backup.json" || refuse "$backup is of another format."
done
dumped=$(sed -n 's/^  "database": "\(.*\)"$/\1/p' "$backup/backup.json")
[[ "$dumped" =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || refuse "$backup names no database."
[ -s "$backup/$dumped.dump" ] || refuse "$backup holds no dump of $dumped."
# Listed first: a grep that has found something ends the tar before it, and that passes for a failure.
entries=$(tar --list --file "$backup/blobs.tar") &&
  kinds=$(tar --list --verbose --file "$backup/blobs.tar" | cut -c 1) ||
  refuse "$backup/blobs.tar cannot be read."
if grep -qvE '^blobs/([0-9a-f]{2}/([0-9a-f]{64})?)?$' <<<"$entries" || grep -qv '^[-d]' <<<"$kinds"; then
  refuse "$backup/blobs.tar holds something that is no original."
fi
if [ "$check" = yes ]; then
  echo "The backup is whole."
  exit 0
fi

admin=${NEO4J_ADMIN:-neo4j-admin}
stop=${NEO4J_STOP:-neo4j stop}
start=${NEO4J_START:-neo4j start}
database=$(named_database)
database=${database:-$dumped}
export NEO4J_DATABASE=$database # what is loaded is what is looked at
[ -n "${RAG_DATA_DIR:-}" ] || wrong "RAG_DATA_DIR is not set: where do the originals go?"
[ -n "${NEO4J_URI:-}" ] || wrong "NEO4J_URI is not set: what is there, and what was restored, is asked for."
if [ "$force" = no ]; then
  there=$("${engine[@]}" workspaces list --json) ||
    fail "Nobody can tell what the database holds. Start the server, or add --force."
  [ -z "$there" ] || wrong "The database holds workspaces already. Add --force to have it replaced."
fi

stopped=no
finish() {
  local code=$?
  trap - EXIT
  trap : INT TERM # whoever is impatient now must not leave the server down
  if [ "$stopped" = yes ]; then
    bash -c "$start" || say "The server is down, it did not start again: $start"
  fi
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Originals first: the database names none that are not there.
mkdir -p "$RAG_DATA_DIR"
tar --extract --file "$backup/blobs.tar" --directory "$RAG_DATA_DIR" --skip-old-files --no-same-owner ||
  fail "The originals could not be written to $RAG_DATA_DIR."

stopped=yes
bash -c "$stop" || fail "The server could not be stopped: $stop"
# Through a pipe: the database's user, who may be the one to run it, cannot read this folder.
bash -c "$admin database load \"\$1\" --from-stdin --overwrite-destination=true" load "$database" \
  <"$backup/$dumped.dump" || fail "The database could not be loaded: $admin database load $database"
interrupted=no
trap 'interrupted=yes' INT TERM # not before it is known whether it runs
if bash -c "$start"; then
  stopped=no
elif [ "$interrupted" = no ]; then
  stopped=no
  fail "The server is down, it did not start: $start"
fi
trap 'exit 130' INT TERM
[ "$interrupted" = no ] || exit 130

restored=$("${engine[@]}" workspaces list --json) || fail "The restored database cannot be read."
echo "$restored"
while IFS= read -r counted; do
  # What was counted right before the dump; a document may have come or gone in between.
  workspace=${counted%, \"documents\"*}
  grep -qF -- "$workspace" <<<"$restored" || fail "A workspace is missing: $counted"
  grep -qxF -- "$counted" <<<"$restored" ||
    say "Right before the dump it was: $counted. Documents that came or went then make the difference."
done <"$backup/workspaces.jsonl"
