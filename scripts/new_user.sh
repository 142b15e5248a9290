#!/usr/bin/env bash
# What README tells a new user to type, in a virtual environment and a folder of their own.
set -euo pipefail
repository="$(cd "$(dirname "$0")/.." && pwd)"
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT

# pip builds in the folder it is given: a copy keeps the repository as it is.
mkdir "$place/source" "$place/empty" "$place/docs"
git -C "$repository" archive HEAD | tar -x -C "$place/source"
cp "$repository"/demo/lighthouse/*.html "$repository"/demo/lighthouse/*.docx "$place/docs"

"${PYTHON:-python3.11}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet "$place/source"

cd "$place/empty"
export PATH="$place/venv/bin:$PATH" HOME="$place" XDG_DATA_HOME="$place/data"
rag-engine doctor
rag-engine sync ~/docs && answer="$(rag-engine query "Where did Ada Thorne learn to grind lenses?")"
echo "$answer"
grep --quiet "Lisbon" <<<"$answer"
grep --quiet "Sources" <<<"$answer"
test -z "$(ls -A .)"   # nothing is left behind in the folder one happens to stand in
