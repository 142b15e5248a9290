#!/usr/bin/env bash
# Backs up RAG Engine on Neo4j, for daily use from cron. See docs/how-to/back-up-and-restore.md.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: backup_neo4j.sh [--dump] [--keep N] [--keep-days N] FOLDER

Makes a new folder rag-engine-<time> in FOLDER: all workspaces, originals, settings without secrets.
It gets that name when it is whole; only then older backups are deleted.

  --dump         a dump of the database instead of archives: the server is stopped for it
  --keep N       keep the N newest backups
  --keep-days N  keep the backups of the last N days, and the newest

Without --dump nothing is stopped, and the work is done by `rag-engine backup` with the settings of
the environment, or of .env in the folder it is started in.

  ENGINE_COMMAND  the command                                        rag-engine

With --dump:
  NEO4J_ADMIN     the command                                        neo4j-admin
  NEO4J_STOP      stops the server, and returns when it is down      neo4j stop
  NEO4J_START     starts it                                          neo4j start
  NEO4J_DATABASE  the database                                       that of .env, else neo4j
  RAG_DATA_DIR    the folder with the originals                      no default

Exit codes: 0 the backup is whole; 2 wrong usage; 3 there is no new backup (another one is being made,
a command failed, the disk is full), older ones are as they were; 4 there is a new backup, but the
server did not start again; 130 interrupted. Whenever
the server is left down, a line says so.
TEXT
}

say() { echo "backup_neo4j.sh: $*" >&2; }
wrong() { say "$*"; usage >&2; exit 2; }
fail() { say "$*"; exit 3; }

run() { # COMMAND [ARGUMENT...]; a server that is started must not inherit the locks
  bash -c "$@" 8>&- 9>&-
}

named_database() { # as rag-engine reads it: of the environment, then of .env in this folder
  if [ -n "${NEO4J_DATABASE:-}" ]; then
    echo "$NEO4J_DATABASE"
  elif [ -f .env ]; then
    sed -nE 's/^[[:space:]]*(export[[:space:]]+)?NEO4J_DATABASE[[:space:]]*=[[:space:]]*//p' .env |
      tail -n 1 | sed -E "s/(^|[[:space:]]+)#.*//; s/[[:space:]]+$//; s/^(['\"])(.*)\1$/\2/"
  fi
}

number() { # OPTION VALUE
  [[ "$2" =~ ^[1-9][0-9]*$ ]] || wrong "$1 takes a number from 1 on, not '$2'."
}

dump=no keep='' keep_days='' folder=''
while [ $# -gt 0 ]; do
  case $1 in
    --dump) dump=yes ;;
    --keep | --keep-days)
      [ $# -ge 2 ] || wrong "$1 takes a number."
      number "$1" "$2"
      if [ "$1" = --keep ]; then keep=$2; else keep_days=$2; fi
      shift
      ;;
    -h | --help) usage; exit 0 ;;
    -*) wrong "There is no option $1." ;;
    *)
      [ -z "$folder" ] || wrong "One folder, please."
      folder=$1
      ;;
  esac
  shift
done
[ -n "$folder" ] || wrong "Where to? Name a folder."

# The command may have arguments: docker compose exec -T api rag-engine
# shellcheck disable=SC2206
engine=(${ENGINE_COMMAND:-rag-engine})
# Without an address the embedded store would be meant, and nobody would notice.
[ -n "${NEO4J_URI:-}" ] || grep -qs '^NEO4J_URI=.' .env ||
  wrong "NEO4J_URI is not set, in the environment or in .env of $PWD."
if [ "$dump" = no ]; then
  exec "${engine[@]}" backup "$folder" ${keep:+--keep "$keep"} ${keep_days:+--keep-days "$keep_days"}
fi

admin=${NEO4J_ADMIN:-neo4j-admin}
stop=${NEO4J_STOP:-neo4j stop}
start=${NEO4J_START:-neo4j start}
database=$(named_database)
database=${database:-neo4j}
[[ "$database" =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] ||
  wrong "NEO4J_DATABASE, in the environment or in .env of $PWD, is no name of a database: $database"
blobs=${RAG_DATA_DIR:-}/blobs
[ -n "${RAG_DATA_DIR:-}" ] || wrong "RAG_DATA_DIR is not set: where are the originals?"
[ -d "$blobs" ] || fail "There are no originals in $blobs. Check RAG_DATA_DIR."
for tool in flock tar sha256sum; do
  command -v "$tool" >/dev/null || fail "$tool is not installed."
done

umask 077 # it holds every document there is
mkdir -p "$folder" || fail "$folder cannot be made."
exec 9>>"$folder/.lock" || fail "$folder cannot be written."
flock --nonblock 9 || fail "Another backup into $folder is being made. Wait for its end."

name=rag-engine-$(date -u +%Y%m%dT%H%M%SZ)
partial=$folder/.$name.partial
stopped=no

finish() { # also on the way out of an error
  local code=$?
  trap - EXIT
  trap : INT TERM # whoever is impatient now must not leave the server down
  rm -rf -- "$partial"
  if [ "$stopped" = yes ]; then
    run "$start" || say "The server is down, it did not start again: $start"
  fi
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

rm -rf -- "$folder"/.rag-engine-*.partial # nobody else works on them: the lock is ours
[ ! -e "$folder/$name" ] || fail "$folder/$name is there already. Try again."
mkdir "$partial" || fail "$folder cannot be written."

"${engine[@]}" workspaces list --json >"$partial/workspaces.jsonl" ||
  fail "Nobody can tell what the database holds."

# Database first, then originals: until then none may be deleted that the database names.
exec 8>>"$blobs/.keeping" || fail "$blobs cannot be written."
flock --shared 8

stopped=yes
run "$stop" || fail "The server could not be stopped: $stop"
# Through a pipe: the database's user, who may be the one to run it, cannot write into this folder.
run "$admin database dump \"\$1\" --to-stdout" dump "$database" >"$partial/$database.dump" ||
  fail "The database could not be dumped: $admin database dump $database"
[ -s "$partial/$database.dump" ] || fail "There is no dump of the database in $partial."
started=yes interrupted=no
trap 'interrupted=yes' INT TERM # not before it is known whether it runs
run "$start" || started=no
[ "$interrupted$started" = yesno ] || stopped=no
trap 'exit 130' INT TERM
[ "$interrupted" = no ] || exit 130
[ "$started" = yes ] || say "The server is down, it did not start again: $start"

# tar ends with 1 when files came while it read a folder. What came is not in the dump; what is, never
# changes, and is not deleted.
tar --create --file "$partial/blobs.tar" --directory "$RAG_DATA_DIR" --exclude '.put-*' \
  --exclude .keeping --exclude .settling blobs || [ $? -eq 1 ] ||
  fail "The originals could not be copied."

# Those of which it is known that they are no secrets. What else is in the environment may be one.
plain=(
  API_RELOAD DEBUG LOG_FORMAT LOG_LEVEL NEO4J_CA_FILE NEO4J_CONNECT_SECONDS NEO4J_DATABASE
  NEO4J_EXACT_CHUNKS NEO4J_KEPT_SECONDS NEO4J_MAX_CONNECTIONS NEO4J_RETRY_SECONDS
  NEO4J_TRANSACTION_SECONDS NEO4J_URI NEO4J_USERNAME RAG_API_BODY_SECONDS RAG_API_CORS_ORIGINS
  RAG_API_DRAIN_SECONDS RAG_API_HOST RAG_API_MAX_BODY_BYTES RAG_API_MAX_REQUESTS
  RAG_API_MAX_REQUESTS_PER_KEY RAG_API_PORT RAG_API_REQUESTS_PER_MINUTE RAG_API_REQUEST_SECONDS
  RAG_API_ROOT_PATH RAG_API_SEARCH_PROCESSES RAG_API_TRUSTED_PROXIES RAG_CHUNK_OVERLAP_TOKENS
  RAG_CHUNK_TARGET_TOKENS RAG_CONTEXT_PASSAGES RAG_CONTEXT_TOKENS RAG_DATA_DIR RAG_EMBEDDING_MODEL
  RAG_EMBEDDING_THREADS RAG_LLM_BASE_URL RAG_LLM_MODEL RAG_LLM_TIMEOUT_SECONDS
  RAG_PARSER_MAX_BYTES RAG_PARSER_MAX_MEMORY_BYTES RAG_PARSER_MAX_PAGES
  RAG_PARSER_MAX_UNPACKED_BYTES RAG_PARSER_OCR RAG_PARSER_TIMEOUT_SECONDS RAG_WORKER_CONCURRENCY
  RAG_WORKER_LEASE_SECONDS RAG_WORKER_METRICS_HOST RAG_WORKER_METRICS_PORT
)
{
  echo "# The settings, without secrets: passwords and keys are not in the backup."
  for setting in "${plain[@]}"; do
    value=${!setting:-}
    value=${value//\\/\\\\}
    [ -z "$value" ] || printf '%s="%s"\n' "$setting" "${value//\"/\\\"}"
  done
} >"$partial/settings.env"
cat >"$partial/backup.json" <<TEXT
{
  "format": "rag-engine-backup",
  "version": 1,
  "kind": "dump",
  "made_at": "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)",
  "database": "$database"
}
TEXT
(cd "$partial" && sha256sum -- backup.json blobs.tar "$database.dump" settings.env workspaces.jsonl \
  >SHA256SUMS)
sync -- "$partial"/* "$partial" || fail "The disk did not take it."
mv -T -- "$partial" "$folder/$name"
sync -- "$folder"

# Only whole backups have such a name, and it sorts by time. Whatever a wrong clock named the others,
# the new one stays.
mapfile -t others < <(find "$folder" -mindepth 1 -maxdepth 1 -type d \
  -name 'rag-engine-????????T??????Z' ! -name "$name" | sort -r)
oldest=''
[ -z "$keep_days" ] || oldest=rag-engine-$(date -u -d "$keep_days days ago" +%Y%m%dT%H%M%SZ)
for ((i = 0; i < ${#others[@]}; i++)); do
  old=${others[i]}
  if [ -n "$keep" ] && [ "$((i + 1))" -lt "$keep" ]; then continue; fi
  if [ -n "$oldest" ] && [[ ! "$(basename "$old")" < "$oldest" ]]; then continue; fi
  if [ -z "$keep$keep_days" ]; then continue; fi
  mv -T -- "$old" "$folder/.$(basename "$old").partial"
  rm -rf -- "$folder/.$(basename "$old").partial"
done

echo "$folder/$name"
[ "$started" = yes ] || exit 4
