#!/usr/bin/env bats
# lib/budget.sh: what things cost, never told smaller than it is.

load test_helper
load lib_helper

@test "amounts in micro-dollars" {
  run lib_both budget <<'SH'
for usd in 0 0.44 5 5. 5.00 0.000001 0.1234567 999999.99 007 08.09; do
  BUDGET_MICRO=?
  budget_micro "$usd" && echo "$usd $BUDGET_MICRO"
done
SH
  assert_equal "$output" '0 0
0.44 440000
5 5000000
5. 5000000
5.00 5000000
0.000001 1
0.1234567 123456
999999.99 999999990000
007 7000000
08.09 8090000'
}

@test "what is no amount is refused, and nothing in it is run" {
  run lib_both budget <<'SH'
for usd in '' ' ' abc -1 +1 .5 1,5 1e3 '$5' '5 ' 1.2.3 0x10 NaN 10000000 'a[$(touch pwned)]' $'1\n2'; do
  ! budget_micro "$usd" || echo "taken: $usd"
done
SH
  assert_status 0
  assert_equal "$output" ''
  refute_exists pwned
}

@test "a cost is rounded up to a hundredth of a cent" {
  run lib_both budget <<'SH'
while read -r rate seconds; do
  budget_cost "$rate" "$seconds"
  echo "$rate for $seconds s: $BUDGET_COST"
done <<'CASES'
0.44 0
0.44 1
0.44 3600
0.44 3601
1 36
0.0001 1
3.99 86400
999999.99 2592000
0 100
abc 100
0.44 -5
CASES
budget_cost '' 100
echo "without a price: $BUDGET_COST"
SH
  assert_status 0
  assert_equal "$output" '0.44 for 0 s: 0.0000
0.44 for 1 s: 0.0002
0.44 for 3600 s: 0.4400
0.44 for 3601 s: 0.4402
1 for 36 s: 0.0100
0.0001 for 1 s: 0.0001
3.99 for 86400 s: 95.7600
999999.99 for 2592000 s: 719999992.8000
0 for 100 s: 0.0000
abc for 100 s: 0.0000
0.44 for -5 s: 0.0000
without a price: 0.0000'
}

@test "costs in words" {
  run lib_both budget <<'SH'
for usd in 0 0.0000 0.0001 0.0099 0.01 0.0101 0.5 12.3400 1000 abc ''; do
  budget_show "$usd"
  echo "$usd: $BUDGET_TEXT"
done
SH
  assert_equal "$output" '0: 
0.0000: 
0.0001: less than $0.01
0.0099: less than $0.01
0.01: about $0.01
0.0101: about $0.02
0.5: about $0.50
12.3400: about $12.34
1000: about $1000.00
abc: 
: '
}

@test "how long an amount lasts, rounded down" {
  run lib_both budget <<'SH'
while read -r usd rate; do
  budget_seconds "$usd" "$rate"
  echo "\$$usd at $rate: <$BUDGET_SECONDS>"
done <<'CASES'
1 1
0.44 0.44
1 3
0 1
5 0
5 abc
abc 1
999999 0.0001
CASES
SH
  assert_equal "$output" '$1 at 1: <3600>
$0.44 at 0.44: <3600>
$1 at 3: <1200>
$0 at 1: <0>
$5 at 0: <>
$5 at abc: <>
$abc at 1: <>
$999999 at 0.0001: <35999964000000>'
}
