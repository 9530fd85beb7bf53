#!/bin/sh
# Measures every figure of docs/benchmarks.md anew: a quarter of an hour on a machine that does nothing
# else. With `short`, without the two runs of the seed's workload at full length: 7 minutes.
#
#     docs/benchmarks/measure.sh [short]
#
# Builds first. Tables go to standard output; JSON and pages to docs/benchmarks.
set -eu
cd "$(dirname "$0")/../.."
cargo build --release -p weir
weir=target/release/weir
out=docs/benchmarks
# Servers keep their data below it: the system's own temporary directory may be memory.
export TMPDIR="$PWD/target"

run() {
  name=$1
  shift
  echo
  echo "== weir bench $*"
  "$weir" bench "$@" --json "$out/$name.json" --html "$out/$name.html"
}

# The seed's workload at half its rate, which most disks keep up with: 9 rounds of 9 seconds each.
run pinned-producer pinned-producer compare --bridge --producers 4 --rate-limit 50 --seconds 8
run pinned-consumer pinned-consumer compare --bridge --consumers 4 --rate-limit 50 --seconds 8

# One actor as fast as it can, 36 seconds each.
run producer-unlimited pinned-producer compare --unlimited --seconds 4
run consumer-unlimited pinned-consumer compare --unlimited --seconds 4

# The load itself, 30 seconds each.
run producer-self-test pinned-producer compare --bridge --self-test --unlimited --seconds 2
run consumer-self-test pinned-consumer compare --bridge --self-test --unlimited --seconds 2

# What a connection costs.
run idle-connections idle-connections compare --connections 1000

# The log itself beside the disk under the target directory: 1 minute, 5 GB of space.
echo
echo "== weir bench storage"
"$weir" bench storage target --json "$out/storage.json"

if [ "${1-}" != short ]; then
  # 40 GB over each transport; the consumers' 40 GB are stored first.
  run seed-producer pinned-producer compare --seed-workload --rounds 1
  run seed-consumer pinned-consumer compare --seed-workload --rounds 1
fi
