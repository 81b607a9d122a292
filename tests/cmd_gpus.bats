#!/usr/bin/env bats
# autopod-gpus and autopod-volumes: what can be rented, on this machine and at RunPod.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load test_helper
load runpod_helper
load pods_helper

setup() { autopod_setup; }

teardown() {
  local status=0
  runpod_api_stop || status=1
  autopod_teardown || status=1
  return "$status"
}

@test "gpus: sorted by price, with memory, both clouds and stock, in 80 columns; -v has the data centers" {
  rows_start
  runpod_control '{"prices":{"NVIDIA GeForce RTX 4090":{"secure":0.05,"community":null}}}'
  command_ autopod-gpus
  assert_status 0
  assert_equal "$(awk 'length > 80' <<<"$output")" '' 'lines above 80 columns'
  assert_matches '^GPU +MEMORY +SECURE +COMMUNITY +STOCK'
  assert_matches 'RTX 4090 +24 GB +\$0\.05 +-  High' "$(sed -n 2p <<<"$output")"
  assert_matches 'A40 +48 GB +\$0\.40 +\$0\.35  High'
  assert_matches 'RTX 3080 +10 GB +- +\$0\.17'
  assert_matches 'RTX 3090 +24 GB +\$0\.46 +\$0\.22  none'
  assert_matches 'H100 SXM' "$(tail -n 1 <<<"$output")"
  command_ autopod-gpus -v a40
  assert_contains 'US-GA-1 High, CA-MTL-1 Medium'
}

@test "gpus NAME: a part of the name, whatever its spelling; one that is none is exit 2 with a suggestion" {
  rows_start
  command_ autopod-gpus 'RTX-a'
  assert_status 0
  assert_equal "$(sed -e 1d -e 's/  .*//' <<<"$output" | sort | paste -sd , -)" 'RTX A4000,RTX A5000,RTX A6000'
  command_ autopod-gpus --json 'NVIDIA A40'
  assert_equal "$(jq -r '"\(.id) \(.memory_gb) \(.price.secure) \(.price.community) \(.stock)"' <<<"$output")" \
    'NVIDIA A40 48 0.4 0.35 High'
  command_ autopod-gpus L40X
  assert_status 2
  assert_contains 'there is no GPU type "L40X"' "$stderr"
  assert_contains 'did you mean L40S?' "$stderr"
  command_ autopod-gpus '$(touch pwned)'
  assert_status 2
  refute_exists pwned
  command_ autopod-gpus a b
  assert_status 2
}

@test "gpus with runpodctl 2.7, which tells no prices: they come past it; without them the list stands" {
  rows_start
  export RUNPODCTL_DOUBLE=2.7
  command_ autopod-gpus A40
  assert_status 0
  assert_matches 'A40 +48 GB +\$0\.40 +\$0\.35'
}

@test "gpus and volumes: what can't be asked is told, with its exit code" {
  rows_start
  local name
  for name in gpus volumes; do
    runpod_control '{"faults":{"unauthorized":{},"server_error":null}}'
    command_ "autopod-$name"
    assert_status 3
    assert_contains Unauthorized "$stderr"
    runpod_control '{"faults":{"unauthorized":null,"server_error":{"status":502,"html":true}}}'
    command_ "autopod-$name"
    assert_status 5
    refute_contains '<html' "$stderr"
    command_ "autopod-$name" --provider nowhere
    assert_status 2
    assert_contains 'known are: local runpod' "$stderr"
    RUNPOD_API_KEY='' command_ "autopod-$name"
    assert_status 3
    assert_contains 'there is no RunPod API key' "$stderr"
  done
}

@test "volumes: id, size, data center, price a month, and all of them together" {
  rows_start
  command_ autopod-volumes
  assert_status 0
  assert_matches 'vol4ga1models +100 GB  US-GA-1 +\$7\.00  models'
  assert_matches 'vol7mtl1arch +50 GB  CA-MTL-1 +\$3\.50  archive'
  assert_contains 'Together $10.50 a month.' "$stderr"
  RUNPODCTL_DOUBLE=2.7 command_ autopod-volumes --json
  assert_equal "$(jq -r '"\(.id) \(.size_gb) \(.data_center) \(.usd_per_month)"' <<<"$output" | sed -n 1p)" \
    'vol4ga1models 100 US-GA-1 7'
}

@test "volumes: above 1 TB a gigabyte costs less; none is said" {
  rows_start
  stub runpodctl <<'SH'
case "$*" in
  *--help*) echo 'Usage: runpodctl pod list --all' ;;
  *) cat ./volumes ;;
esac
SH
  PATH=$STUBS:$PATH
  echo '[{"id":"big","name":"big","size":4000,"dataCenterId":"US-GA-1"}]' >volumes
  command_ autopod-volumes
  assert_matches 'big +4000 GB  US-GA-1 +\$220\.00  big'
  echo '[]' >volumes
  command_ autopod-volumes
  assert_status 0
  assert_equal "$output" ''
  assert_contains 'No network volumes.' "$stderr"
}

@test "the local provider: a word about what it is, and the way to RunPod's" {
  command_ autopod-gpus 4090
  assert_status 0
  assert_matches 'CPU +- +\$0\.00 +-  High'
  assert_contains 'autopod-gpus --provider runpod' "$stderr"
  AUTOPOD_LOCAL_RATE=0.44 command_ autopod-gpus --json
  assert_equal "$(jq -r .price.secure <<<"$output")" 0.44
  command_ autopod-volumes
  assert_status 0
  assert_equal "$output" ''
  assert_contains 'autopod-volumes --provider runpod' "$stderr"
}
