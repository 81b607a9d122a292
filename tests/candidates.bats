#!/usr/bin/env bats
# helpers/candidates.py: which pods to try for a wish, in which order; and what is said of a wish that
# is wrong or that nothing fits.

load test_helper

setup() {
  autopod_setup
  {
    gpu 'NVIDIA A40' A40 48 0.4 null '"High"' \
      '[{"id":"US-GA-1","stock":"Low"},{"id":"CA-MTL-1","stock":"High"},{"id":"EU-SE-1","stock":null}]'
    gpu 'NVIDIA RTX A6000' 'RTX A6000' 48 0.49 0.33 '"Medium"'
    gpu 'NVIDIA GeForce RTX 4090' 'RTX 4090' 24 0.74 0.34 null '[{"id":"EU-RO-1","stock":"Low"}]'
    gpu 'NVIDIA A100 80GB PCIe' 'A100 PCIe' 80 1.64 1.19 '"Low"'
    gpu 'NVIDIA A100-SXM4-80GB' 'A100 SXM' 80 1.89 null '"High"'
  } >gpus
  cat >volumes <<'JSON'
{"id":"vol1","name":"models","size_gb":100,"data_center":"US-GA-1"}
{"id":"vol2","name":null,"size_gb":null,"data_center":"EU-SE-1"}
JSON
}

# gpu ID NAME GB SECURE_PRICE COMMUNITY_PRICE STOCK [DATA_CENTERS] - a line of --gpus; the last five are JSON
gpu() {
  jq -nc --arg id "$1" --arg name "$2" --argjson gb "$3" --argjson secure "$4" --argjson community "$5" \
    --argjson stock "$6" --argjson centers "${7:-null}" '{secure: $secure, community: $community} as $price |
    {id: $id, name: $name, memory_gb: $gb, price: $price, clouds: ($price | del(.[] | nulls) | keys_unsorted),
     stock: $stock, available: ($stock != null), data_centers: $centers}'
}

# wish JSON [ARG...] - runs the helper for a wish, with the lists in ./gpus and ./volumes
wish() {
  printf '%s\n' "$1" >wish
  run --separate-stderr "$AUTOPOD_PYTHON" -I -S "$ROOT/helpers/candidates.py" --wish wish --gpus gpus --volumes volumes "${@:2}"
}

# wish_is JSON LINE... - the wish has exactly these warnings and candidates (a TAB is written as |)
wish_is() {
  wish "$1"
  assert_status 0
  assert_equal "$stderr" ""
  assert_equal "$(tr '\t' '|' <<<"$output")" "$(printf '%s\n' "${@:2}")" "$1"
}

# refused STATUS JSON LINE... - the wish ends with STATUS and exactly these lines on stderr
refused() {
  wish "$2"
  assert_status "$1"
  assert_equal "$output" ""
  assert_equal "$stderr" "$(printf '%s\n' "${@:3}")" "$2"
}

# --- names of GPUs --------------------------------------------------------------------------------

@test "GPU names as people write them, by the shipped table" {
  cat >names <<'NAMES'
4090|NVIDIA GeForce RTX 4090
RTX 4090|NVIDIA GeForce RTX 4090
rtx4090|NVIDIA GeForce RTX 4090
NVIDIA RTX 4090|NVIDIA GeForce RTX 4090
geforce-4090|NVIDIA GeForce RTX 4090
4090 24 GB|NVIDIA GeForce RTX 4090
3090|NVIDIA GeForce RTX 3090
3090ti|NVIDIA GeForce RTX 3090 Ti
RTX 3090 TI|NVIDIA GeForce RTX 3090 Ti
4080|NVIDIA GeForce RTX 4080
4080 super|NVIDIA GeForce RTX 4080 SUPER
RTX A40|NVIDIA A40
a40|NVIDIA A40
 NVIDIA   a40 |NVIDIA A40
A4000|NVIDIA RTX A4000
RTX A4500|NVIDIA RTX A4500
A6000|NVIDIA RTX A6000
rtxa6000|NVIDIA RTX A6000
6000 Ada|NVIDIA RTX 6000 Ada Generation
RTX 6000ada|NVIDIA RTX 6000 Ada Generation
rtx 6000|NVIDIA RTX 6000 Ada Generation
RTX 4000 Ada|NVIDIA RTX 4000 Ada Generation
RTX 4000 SFF Ada|NVIDIA RTX 4000 SFF Ada Generation
4000 Ada SFF|NVIDIA RTX 4000 SFF Ada Generation
l4|NVIDIA L4
L40|NVIDIA L40
l40s|NVIDIA L40S
A100 PCIe|NVIDIA A100 80GB PCIe
a100-pcie-80gb|NVIDIA A100 80GB PCIe
A100 SXM|NVIDIA A100-SXM4-80GB
a100sxm4|NVIDIA A100-SXM4-80GB
nvidia a100-sxm4-80gb|NVIDIA A100-SXM4-80GB
H100 SXM5|NVIDIA H100 80GB HBM3
h100 nvl|NVIDIA H100 NVL
H200|NVIDIA H200
B300|NVIDIA B300 SXM6 AC
mi300x|AMD Instinct MI300X OAM
V100|Tesla V100-PCIE-16GB
V100 32GB|Tesla V100-SXM2-32GB
NAMES
  # one start of Python for all of them
  "$AUTOPOD_PYTHON" - "$ROOT/helpers" names <<'PY'
import contextlib, io, json, sys
sys.path.insert(0, sys.argv[1])
from candidates import main
for line in open(sys.argv[2], encoding="utf-8"):
    name, wanted = line.rstrip("\n").split("|")
    with open("wish", "w", encoding="utf-8") as file:
        json.dump({"gpu_type": name}, file)
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())) as out:
        status = main(["--wish", "wish"])
    found = [row.split("\t")[1] for row in out.buffer.getvalue().decode().split("\n") if row.startswith("candidate")]
    assert (status, found) == (0, [wanted]), (name, status, found)
PY
}

@test "a name that several GPUs may have is refused, with the ids to choose from" {
  refused 2 '{"gpu_type":"A100"}' \
    'GPU "A100" may mean A100 PCIe (NVIDIA A100 80GB PCIe), A100 SXM (NVIDIA A100-SXM4-80GB); name one, or several between commas'
  : >gpus
  refused 2 '{"gpu_type":"A40,rtx 4000,80 GB"}' \
    'GPU "rtx 4000" may mean RTX 4000 Ada (NVIDIA RTX 4000 Ada Generation), RTX 4000 Ada SFF (NVIDIA RTX 4000 SFF Ada Generation); name one, or several between commas' \
    'GPU "80 GB" may mean A100 PCIe (NVIDIA A100 80GB PCIe), A100 SXM (NVIDIA A100-SXM4-80GB), H100 SXM (NVIDIA H100 80GB HBM3), H100 PCIe (NVIDIA H100 PCIe); name one, or several between commas'
  wish '{"gpu_type":"16gb"}'
  assert_status 2
  assert_matches '^GPU "16gb" may mean RTX 4080 \(NVIDIA GeForce RTX 4080\), .*\), \.\.\. \(8 in all\); ' "$stderr"
  assert_equal "$(tr -cd '(' <<<"$stderr" | wc -c | tr -d ' ')" 7 'six ids and the number of all'
}

@test "a typo gets suggestions, and every wrong name is told" {
  refused 2 '{"gpu_type":"A41, A40, 4900, RTX A6000 Ada, abacus, NVIDIA, 3"}' \
    'GPU "A41" is not known; did you mean A40?' \
    'GPU "4900" is not known; did you mean RTX 4090 or RTX 4080 or RTX A4500?' \
    'GPU "RTX A6000 Ada" is not known; did you mean RTX 6000 Ada or RTX 5000 Ada or RTX 4000 Ada?' \
    'GPU "abacus" is not known; autopod-gpus lists those there are' \
    'GPU "NVIDIA" is not known; autopod-gpus lists those there are' \
    'GPU "3" is not known; autopod-gpus lists those there are'
}

@test "the provider's list goes before the shipped table, and its ids are used as they are" {
  gpu 'NVIDIA  RTX A4500' 'RTX A4500' 20 0.25 null '"Low"' >gpus
  gpu 'NVIDIA RTX A4500' 'RTX A4500' 20 0.25 null null >>gpus
  gpu 'NVIDIA NEW 9000' 'NEW 9000' 200 9 null null >>gpus
  wish_is '{"gpu_type":"nvidia rtx a4500, new 9000"}' \
    'candidate|NVIDIA  RTX A4500|RTX A4500||secure|0.25|Low|20' 'candidate|NVIDIA NEW 9000|NEW 9000||secure|9.00|None|200'
  { sed -n 2p gpus && sed -n 1p gpus; } >turned && mv turned gpus
  wish_is '{"gpu_type":"A4500"}' 'candidate|NVIDIA  RTX A4500|RTX A4500||secure|0.25|Low|20'
  # a name that the provider itself uses is not ambiguous
  {
    gpu 'NVIDIA A100 80GB PCIe' 'A100 80GB' 80 1.6 null null
    gpu 'NVIDIA A100-SXM4-80GB' 'A100 SXM 80GB' 80 1.8 null null
    gpu 'NVIDIA H200' 'H200 SXM' 141 3 null null
    gpu 'NVIDIA H200 NVL' 'H200 NVL' 143 3 null null
    gpu 'NVIDIA GeForce RTX 5000' 'RTX 5000' 16 1 null null
    gpu 'Quadro RTX 5000' 'Quadro 5000' 16 1 null null
  } >gpus
  wish_is '{"gpu_type":"a100 80gb,h200,quadro rtx 5000"}' 'candidate|NVIDIA A100 80GB PCIe|A100 80GB||secure|1.60|None|80' \
    'candidate|NVIDIA H200|H200 SXM||secure|3.00|None|141' 'candidate|Quadro RTX 5000|Quadro 5000||secure|1.00|None|16'
}

@test "a known GPU that the provider does not list is left out; when it was the only one, nothing fits" {
  wish_is '{"gpu_type":"L40S,A40"}' 'warning|GPU "L40S" is not on offer now' 'candidate|NVIDIA A40|A40||secure|0.40|High|48'
  refused 4 '{"gpu_type":"L40S,A30"}' 'GPU "L40S" is not on offer now; GPU "A30" is not on offer now'
}

@test "without a list: ids and memory of the shipped table, no price and no stock" {
  local warning='warning|there is no list of GPUs: their prices and stock are not known'
  local want='candidate|NVIDIA A40|A40|US-GA-1|secure|||48'
  rm gpus volumes
  wish_is '{"gpu_type":"A40","datacenter":"us-ga-1"}' "$warning" "$want"
  : >gpus
  wish_is '{"gpu_type":"A40","datacenter":"us-ga-1"}' "$warning" "$want"
  run --separate-stderr "$AUTOPOD_PYTHON" -I -S "$ROOT/helpers/candidates.py" --wish wish
  assert_status 0
  assert_equal "$(tr '\t' '|' <<<"$output")" "$warning"$'\n'"$want"
}

# --- order, place and price -----------------------------------------------------------------------

@test "the order is GPU, then data center, then cloud; each once" {
  wish_is '{"gpu_type":"A6000, 4090,rtx a6000","datacenter":"eu-ro-1,CA-MTL-1,EU-RO-1","cloud":"Community,secure,community"}' \
    'candidate|NVIDIA RTX A6000|RTX A6000|EU-RO-1|community|0.33|Medium|48' \
    'candidate|NVIDIA RTX A6000|RTX A6000|EU-RO-1|secure|0.49|Medium|48' \
    'candidate|NVIDIA RTX A6000|RTX A6000|CA-MTL-1|community|0.33|Medium|48' \
    'candidate|NVIDIA RTX A6000|RTX A6000|CA-MTL-1|secure|0.49|Medium|48' \
    'candidate|NVIDIA GeForce RTX 4090|RTX 4090|EU-RO-1|community|0.34|Low|24' \
    'candidate|NVIDIA GeForce RTX 4090|RTX 4090|EU-RO-1|secure|0.74|Low|24' \
    'candidate|NVIDIA GeForce RTX 4090|RTX 4090|CA-MTL-1|community|0.34|None|24' \
    'candidate|NVIDIA GeForce RTX 4090|RTX 4090|CA-MTL-1|secure|0.74|None|24'
}

@test "what is not said: anywhere, in the secure cloud, one GPU" {
  wish_is '{"gpu_type":"A40","gpu_count":null,"datacenter":"","cloud":null,"volume_id":"","max_price_usd_per_hour":""}' \
    'candidate|NVIDIA A40|A40||secure|0.40|High|48'
}

@test "the stock is that of the data center; without an entry there is none, and an entry may not say" {
  wish_is '{"gpu_type":"A40","datacenter":"US-GA-1,CA-MTL-1,EU-SE-1,EU-RO-1"}' \
    'candidate|NVIDIA A40|A40|US-GA-1|secure|0.40|Low|48' 'candidate|NVIDIA A40|A40|CA-MTL-1|secure|0.40|High|48' \
    'candidate|NVIDIA A40|A40|EU-SE-1|secure|0.40||48' 'candidate|NVIDIA A40|A40|EU-RO-1|secure|0.40|None|48'
}

@test "a data center that the list does not have is tried all the same, with a warning" {
  wish_is '{"gpu_type":"A6000","datacenter":"us-ge-1,ZZ-9"}' \
    "warning|data center us-ge-1 is not on the provider's list; did you mean US-GA-1?" \
    "warning|data center ZZ-9 is not on the provider's list" \
    'candidate|NVIDIA RTX A6000|RTX A6000|US-GE-1|secure|0.49|Medium|48' \
    'candidate|NVIDIA RTX A6000|RTX A6000|ZZ-9|secure|0.49|Medium|48'
  gpu 'NVIDIA A40' A40 48 0.4 null '"High"' >gpus # a list without data centers
  wish_is '{"gpu_type":"A40","datacenter":"zz-9"}' 'candidate|NVIDIA A40|A40|ZZ-9|secure|0.40|High|48'
}

@test "a GPU that a cloud does not have is left out there; in no cloud at all, nothing fits" {
  wish_is '{"gpu_type":"A40,4090","cloud":"community"}' 'warning|A40 is not offered in the community cloud' \
    'candidate|NVIDIA GeForce RTX 4090|RTX 4090||community|0.34|None|24'
  refused 4 '{"gpu_type":"A40,A100 SXM","cloud":"community","datacenter":"ZZ-9"}' \
    'A40 is not offered in the community cloud; A100 SXM is not offered in the community cloud'
  printf '%s\n' '{"id":"a","name":"One","price":{"community":0.5}}' '{"id":"b","name":"Two"}' >gpus # without clouds
  wish_is '{"gpu_type":"One,Two"}' 'warning|One is not offered in the secure cloud' 'candidate|b|Two||secure|||'
  wish_is '{"gpu_type":"Two","cloud":"community"}' 'candidate|b|Two||community|||'
}

@test "the price is that of all GPUs of the pod, and so is the limit" {
  wish_is '{"gpu_type":"A40","gpu_count":3}' 'candidate|NVIDIA A40|A40||secure|1.20|High|48'
  wish_is '{"gpu_type":"A40","gpu_count":3.0,"max_price_usd_per_hour":1.2}' 'candidate|NVIDIA A40|A40||secure|1.20|High|48'
  refused 4 '{"gpu_type":"A40,A6000","gpu_count":3,"max_price_usd_per_hour":1.19}' \
    'every GPU that fits costs more than $1.19/h; the cheapest is A40 at $1.20/h in the secure cloud'
}

@test "dearer ones are left out, one by one" {
  wish_is '{"gpu_type":"A40,A6000,A100 SXM","cloud":"secure,community","max_price_usd_per_hour":0.45}' \
    'warning|A40 is not offered in the community cloud' 'warning|A100 SXM is not offered in the community cloud' \
    'warning|RTX A6000 in the secure cloud is left out: it costs $0.49/h, more than $0.45/h' \
    'warning|A100 SXM in the secure cloud is left out: it costs $1.89/h, more than $0.45/h' \
    'candidate|NVIDIA A40|A40||secure|0.40|High|48' 'candidate|NVIDIA RTX A6000|RTX A6000||community|0.33|Medium|48'
  refused 4 '{"gpu_type":"A100 PCIe","cloud":"secure,community","max_price_usd_per_hour":1}' \
    'every GPU that fits costs more than $1.00/h; the cheapest is A100 PCIe at $1.19/h in the community cloud'
}

@test "an unknown price is no reason to leave a GPU out, but it is said" {
  : >gpus
  wish '{"gpu_type":"A40,4090","max_price_usd_per_hour":0.125}'
  assert_status 0
  assert_contains "warning	the price of A40, RTX 4090 is not known before the pod is made, so the limit of \$0.125/h can't be checked yet"
  assert_equal "$(grep -c ^candidate <<<"$output")" 2
}

# --- volumes --------------------------------------------------------------------------------------

@test "a volume forces its data center and the secure cloud" {
  wish_is '{"gpu_type":"A40","volume_id":"vol1"}' 'candidate|NVIDIA A40|A40|US-GA-1|secure|0.40|Low|48'
  wish_is '{"gpu_type":"4090","volume_id":"vol1","cloud":"community,secure","datacenter":"CA-MTL-1,us-ga-1"}' \
    'candidate|NVIDIA GeForce RTX 4090|RTX 4090|US-GA-1|secure|0.74|None|24'
}

@test "a volume elsewhere, or one that is not there, is refused" {
  refused 2 '{"gpu_type":"A40","volume_id":"vol1","datacenter":"CA-MTL-1"}' 'Volume vol1 is in US-GA-1, but you asked for CA-MTL-1'
  refused 2 '{"gpu_type":"A40","volume_id":"vol1","datacenter":"ca-mtl-1,EU-SE-1"}' \
    'Volume vol1 is in US-GA-1, but you asked for CA-MTL-1, EU-SE-1'
  refused 2 '{"gpu_type":"A40","volume_id":"vol1","cloud":"community"}' \
    'Volume vol1 works in the secure cloud only, but you asked for community'
  refused 2 '{"gpu_type":"A40","volume_id":"models"}' \
    'there is no volume "models"; those there are: vol1 (models, 100 GB, US-GA-1), vol2 (EU-SE-1)'
  rm volumes
  refused 2 '{"gpu_type":"A40","volume_id":"vol1"}' 'there is no volume "vol1"; there is none at all'
}

@test "a volume of which the data center is not known leaves the choice as it is" {
  printf '{"id":"vol3"}\n' >volumes
  wish_is '{"gpu_type":"A40","volume_id":"vol3","datacenter":"CA-MTL-1"}' 'candidate|NVIDIA A40|A40|CA-MTL-1|secure|0.40|High|48'
}

# --- a provider that pretends ---------------------------------------------------------------------

@test "a GPU that pretends takes the first name as its own, whatever else is wished" {
  cat >gpus <<'JSON'
{"id":"CPU","name":"CPU","memory_gb":0,"price":{"secure":0.44,"community":null},"clouds":["secure"],"stock":"High","available":true,"data_centers":null,"pretends":true}
JSON
  wish_is '{}' 'candidate|CPU|CPU||secure|0.44|High|0'
  wish_is '{"gpu_type":"RTX A40, A6000","gpu_count":2,"datacenter":"EU-RO-1","cloud":"community","volume_id":"gone"}' \
    'candidate|CPU|RTX A40||secure|0.44|High|0'
  wish_is '{"gpu_type":"any\tth\u001b[1ming"}' 'candidate|CPU|any th\x1b[1ming||secure|0.44|High|0'
  refused 4 '{"gpu_type":"A40","max_price_usd_per_hour":0.4}' \
    'every GPU that fits costs more than $0.40/h; the cheapest is A40 at $0.44/h in the secure cloud'
}

# --- wrong wishes and odd lists -------------------------------------------------------------------

@test "a wrong wish: every fault is told" {
  local count
  refused 2 '{"gpu_type":["A40"],"gpu_count":1.5,"datacenter":"a b,$(id),US-GA-1","cloud":"public","volume_id":7,"max_price_usd_per_hour":"1"}' \
    'gpu_type: must be a text, but is ["A40"]' "datacenter: \"a b\" is no data center's name" \
    "datacenter: \"\$(id)\" is no data center's name" 'cloud: must be secure or community, but is "public"' \
    'volume_id: must be a text, but is 7' 'gpu_count: must be a whole number, but is 1.5' \
    'max_price_usd_per_hour: must be a number above 0, but is "1"'
  for count in 0 -1 true '"2"' '[]' 1e+99 Infinity NaN; do
    refused 2 "{\"gpu_type\":\"A40\",\"gpu_count\":$count}" "gpu_count: must be a number above 0, but is $count"
  done
  refused 2 '{}' 'which GPU? name one, such as A40 (gpu_type, --gpu, AUTOPOD_GPU)'
  refused 2 '{"gpu_type":" , "}' 'which GPU? name one, such as A40 (gpu_type, --gpu, AUTOPOD_GPU)'
}

@test "no control character of a wish or a list is ever printed" {
  refused 2 '{"gpu_type":"A40","cloud":"x\u001b[2J","datacenter":"\u009b1m"}' \
    "datacenter: \"\x9b1m\" is no data center's name" 'cloud: must be secure or community, but is "x\u001b[2j"'
  refused 2 '{"gpu_type":"\u001b]0;x\u0007,\ud800"}' \
    'GPU "\u001b]0;x\u0007" is not known; autopod-gpus lists those there are' \
    'GPU "\ud800" is not known; autopod-gpus lists those there are'
  cat >volumes <<'JSON'
{"id":"\u001b[1m","name":"\u2028"}
JSON
  refused 2 '{"gpu_type":"A40","volume_id":"\u009b1m"}' 'there is no volume "\x9b1m"; those there are: \x1b[1m'
  cat >gpus <<'JSON'
{"id":"a\tb","name":"Tabby 1"}
{"id":"x","name":"A40\u001b[1m\n","stock":"Hi\tgh"}
JSON
  wish_is '{"gpu_type":"x"}' 'candidate|x|A40\x1b[1m||secure||Hi gh|'
  refused 2 '{"gpu_type":"Tabby 1"}' 'GPU "Tabby 1" is not known; autopod-gpus lists those there are'
}

@test "lists of odd shapes make no mess" {
  cat >gpus <<'JSON'
[]
{"name":"no id"}
{"id":7}
{"id":" "}
{"id":"NVIDIA A40","name":7,"memory_gb":"48","price":[1],"clouds":"secure","stock":1,"available":null,"data_centers":[7,{"stock":"Low"},{"id":"EU-1"}]}
JSON
  wish_is '{"gpu_type":"A40","datacenter":"eu-1"}' 'candidate|NVIDIA A40|NVIDIA A40|EU-1|secure|||'
  printf '{"id":"NVIDIA A40","price":{"secure":-1,"community":true}}\n' >gpus
  wish_is '{"gpu_type":"A40"}' 'candidate|NVIDIA A40|NVIDIA A40||secure|||'
}

@test "files that can't be read are named" {
  mkdir directory
  wish '{"gpu_type":"A40"}' --gpus directory
  assert_equal "$status $stderr" '2 directory: Is a directory'
  wish '{"gpu_type":"A40"}' --wish gone
  assert_equal "$status $stderr" '2 gone: No such file or directory'
  wish '[]'
  assert_equal "$status $stderr" '2 wish: not a JSON object'
  printf 'nope\n' >gpus
  wish '{"gpu_type":"A40"}'
  assert_status 2
  assert_matches '^gpus: Expecting value' "$stderr"
}

@test "difflib is loaded for mistakes only, and --help tells the formats" {
  printf '{"gpu_type":"A40,rtx 4090","datacenter":"US-GA-1"}' >wish
  run "$AUTOPOD_PYTHON" -I -S -X importtime "$ROOT/helpers/candidates.py" --wish wish --gpus gpus
  assert_status 0
  assert_contains argparse
  refute_contains difflib
  refute_contains typing
  run "$AUTOPOD_PYTHON" -I -S "$ROOT/helpers/candidates.py" --help
  assert_status 0
  assert_contains 'candidate GPU_ID GPU_NAME DATA_CENTER CLOUD PRICE STOCK MEMORY_GB'
}
