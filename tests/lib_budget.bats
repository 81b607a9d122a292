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

@test "prices in words, with as many digits as they have" {
  run lib_both budget <<'SH'
for usd in 0.4 0.44 1 12.50 0.345 0.000001 0.1000 7. 0 0.000 '' abc -1; do
  BUDGET_RATE=?
  budget_rate "$usd"
  echo "$usd: $BUDGET_RATE"
done
budget_rate ''
echo "<$BUDGET_RATE>"
SH
  assert_status 0
  assert_equal "$output" '0.4: $0.40/h
0.44: $0.44/h
1: $1.00/h
12.50: $12.50/h
0.345: $0.345/h
0.000001: $0.000001/h
0.1000: $0.10/h
7.: $7.00/h
0: 
0.000: 
: 
abc: 
-1: 
<>'
}

@test "what a pod costs that ran and stood still: its price, and then its disk" {
  run lib_both budget <<'SH'
while read -r rate seconds monthly stopped; do
  budget_pod "$rate" "$seconds" "$monthly" "$stopped"
  echo "$rate $seconds $monthly $stopped: $BUDGET_COST"
done <<'CASES'
0.44 3600 10 0
0.44 3600 10 2592000
0.44 3600 10 1296000
0 3600 10 2592000
0.44 0 0.2 1
0.44 3600 abc 2592000
abc 3600 10 2592000
CASES
budget_pod '' 100 '' 100
echo "nothing known: $BUDGET_COST"
budget_pod 0.44 -5 0 0
echo "a clock that was set back: $BUDGET_COST"
SH
  assert_status 0
  assert_equal "$output" '0.44 3600 10 0: 0.4400
0.44 3600 10 2592000: 10.4400
0.44 3600 10 1296000: 5.4400
0 3600 10 2592000: 10.0000
0.44 0 0.2 1: 0.0001
0.44 3600 abc 2592000: 0.4400
abc 3600 10 2592000: 10.0000
nothing known: 0.0000
a clock that was set back: 0.0000'
}

@test "which amount is less; one that is not known is not" {
  run lib_both budget <<'SH'
while read -r first second; do
  budget_less "$first" "$second" && echo "$first < $second" || echo "not $first < $second"
done <<'CASES'
0.4 0.44
0.44 0.4
0.44 0.44
0.44 0.440001
9 10
2 12.5
0 0.000001
abc 1
1 abc
CASES
budget_less '' 1 || echo "not '' < 1"
budget_less 1 '' || echo "not 1 < ''"
SH
  assert_equal "$output" "0.4 < 0.44
not 0.44 < 0.4
not 0.44 < 0.44
0.44 < 0.440001
9 < 10
2 < 12.5
0 < 0.000001
not abc < 1
not 1 < abc
not '' < 1
not 1 < ''"
}

@test "the most that a pod may cost: its limit in dollars, or what its minutes cost, whichever is less" {
  run lib_both budget <<'SH'
while IFS=, read -r rate dollars minutes; do
  budget_ceiling "$rate" "$dollars" "$minutes"
  echo "$rate,$dollars,$minutes: <$BUDGET_CEILING>"
done <<'CASES'
0.44,5,
0.44,,60
0.44,5,60
0.44,0.2,60
0.44,0.44,60
1,,1
0.44,,
CASES
SH
  assert_status 0
  assert_equal "$output" '0.44,5,: <5>
0.44,,60: <0.4400>
0.44,5,60: <0.4400>
0.44,0.2,60: <0.2>
0.44,0.44,60: <0.4400>
1,,1: <0.0167>
0.44,,: <>'
}

@test "minutes of a pod without a price are no ceiling" {
  run lib_both budget <<'SH'
for rate in '' 0 abc; do
  budget_ceiling "$rate" '' 60
  echo "<$rate>: <$BUDGET_CEILING>"
  budget_ceiling "$rate" 5 60
  echo "<$rate> with 5: <$BUDGET_CEILING>"
done
SH
  assert_status 0
  assert_equal "$output" '<>: <>
<> with 5: <5>
<0>: <>
<0> with 5: <5>
<abc>: <>
<abc> with 5: <5>'
}

@test "a sum is no smaller than its parts; what is not known counts nothing" {
  run lib_both budget <<'SH'
sum() {
  budget_total "$@"
  echo "$*: $BUDGET_COST"
}
sum
sum 0.44
sum 0.0001 0.0001 0.0001
sum 0.000001
sum 1 '' abc 2.5
sum 999999 999999
SH
  assert_status 0
  assert_equal "$output" ': 0.0000
0.44: 0.4400
0.0001 0.0001 0.0001: 0.0003
0.000001: 0.0001
1  abc 2.5: 3.5000
999999 999999: 1999998.0000'
}

@test "amounts in dollars and cents, rounded up" {
  run lib_both budget <<'SH'
for usd in 0 0.4 0.44 0.441 24.999 1000 0.000001 abc ''; do
  BUDGET_DOLLARS=?
  budget_dollars "$usd"
  echo "$usd: $BUDGET_DOLLARS"
done
SH
  assert_status 0
  assert_equal "$output" '0: $0.00
0.4: $0.40
0.44: $0.44
0.441: $0.45
24.999: $25.00
1000: $1000.00
0.000001: $0.01
abc: 
: '
}

@test "the smallest of several amounts; what is none does not count" {
  run lib_both budget <<'SH'
budget_least 5 '' 0.5 abc 12
echo "$BUDGET_LEAST"
budget_least '' abc
echo "<$BUDGET_LEAST>"
budget_least
echo "<$BUDGET_LEAST>"
budget_least 0.50 0.5
echo "$BUDGET_LEAST"
SH
  assert_status 0
  assert_equal "$output" '0.5
<>
<>
0.50'
}

@test "what is left of an amount; nothing is empty" {
  run lib_both budget <<'SH'
budget_rest 5 1.25 0.0001
echo "$BUDGET_REST"
budget_rest 5
echo "$BUDGET_REST"
budget_rest 5 4 1
echo "<$BUDGET_REST>"
budget_rest 5 9
echo "<$BUDGET_REST>"
budget_rest '' 1
echo "<$BUDGET_REST>"
budget_rest 5 abc ''
echo "$BUDGET_REST"
SH
  assert_status 0
  assert_equal "$output" '3.749900
5.000000
<>
<>
<>
5.000000'
}

# deadlines - prints for each line FROM,USD_PER_HOUR,SPENT,MAX_COST,MINUTES of stdin what budget_deadline makes of it
deadlines() {
  { cat && printf 'END\n'; } >cases
  lib_both budget <<'SH'
AUTOPOD_STOP_GRACE=120 AUTOPOD_GUARD_POLL=15
while IFS=, read -r from rate spent cost minutes; do
  [ "$from" != END ] || break
  BUDGET_COST=mine
  budget_deadline "$from" "$rate" "$spent" "$cost" "$minutes"
  echo "$from,$rate,$spent,$cost,$minutes: $BUDGET_DEADLINE $BUDGET_CODE $BUDGET_CANCEL_AT $BUDGET_WARN_AT $BUDGET_BILL $BUDGET_COST"
done <cases
SH
}

@test "a deadline: by cost or by time, whichever is first; what was spent before counts" {
  run deadlines <<'CASES'
1000,2.4,0,5,750
1000,2.4,0,5,125
1000,2.4,0,5,124
1000,2.4,1,5,750
1000,2.4,0,,750
1000,2.4,0,5,
1000,3600,0,8,
1000,0.000001,0,999999,60
CASES
  assert_status 0
  assert_equal "$output" '1000,2.4,0,5,750: 8500 11 8380 7642 5.0200 mine
1000,2.4,0,5,125: 8500 10 8380 7642 5.0200 mine
1000,2.4,0,5,124: 8440 10 8320 7588 4.9800 mine
1000,2.4,1,5,750: 7000 11 6880 6292 5.0200 mine
1000,2.4,0,,750: 46000 10 45880 41392 30.0200 mine
1000,2.4,0,5,: 8500 11 8380 7642 5.0200 mine
1000,3600,0,8,: 1008 11 1008 1007 38.0000 mine
1000,0.000001,0,999999,60: 4600 10 4480 4132 0.0001 mine'
}

@test "a deadline: used up already, nothing that limits, no price, what is no amount" {
  run deadlines <<'CASES'
1000,1,5,5,60
1000,1,9,5,
1000,1,0,,
1000,0,0,5,60
1000,,,5,
1000,abc,0,5,60
1000,1,0,abc,60
1000,1,abc,5,
CASES
  assert_status 0
  assert_equal "$output" '1000,1,5,5,60: 1000 11 1000 1000 5.0084 mine
1000,1,9,5,: 1000 11 1000 1000 9.0084 mine
1000,1,0,,:      mine
1000,0,0,5,60: 4600 10 4480 4132  mine
1000,,,5,:      mine
1000,abc,0,5,60: 4600 10 4480 4132  mine
1000,1,0,abc,60: 4600 10 4480 4132 1.0084 mine
1000,1,abc,5,: 19000 11 18880 17092 5.0084 mine'
}

@test "the warning comes before what is left is for bringing things home, however short the limit is" {
  run lib_both budget <<'SH'
AUTOPOD_GUARD_POLL=15
for AUTOPOD_STOP_GRACE in 0 1 120 3600; do
  for minutes in 1 2 10 19 20 21 720; do
    budget_deadline 0 1 0 '' "$minutes"
    [ "$BUDGET_WARN_AT" -lt "$BUDGET_CANCEL_AT" ] && [ "$BUDGET_CANCEL_AT" -le "$BUDGET_DEADLINE" ] &&
      [ $((BUDGET_DEADLINE - BUDGET_CANCEL_AT)) -le "$AUTOPOD_STOP_GRACE" ] &&
      [ $((BUDGET_DEADLINE - BUDGET_CANCEL_AT)) -le $((minutes * 6)) ] || echo "wrong: $AUTOPOD_STOP_GRACE $minutes"
  done
done
SH
  assert_status 0
  assert_equal "$output" ''
}

@test "the disk is on the latest possible bill, too" {
  run lib_both budget <<'SH'
AUTOPOD_STOP_GRACE=120 AUTOPOD_GUARD_POLL=15
budget_deadline 1000 0.40 0 '' 720
before=$BUDGET_BILL
budget_disk 8 1000 # dollars a month, half a day
echo "$before $BUDGET_BILL $BUDGET_DEADLINE"
budget_disk 0 1000
echo "$BUDGET_BILL"
budget_deadline 1000 '' 0 '' 720
budget_disk 8 1000
echo "[$BUDGET_BILL]"
SH
  assert_status 0
  assert_equal "$output" '4.8034 4.9368 44200
4.9368
[]'
}

@test "limits in words" {
  run lib_both budget <<'SH'
while IFS=, read -r cost minutes bill price; do
  budget_limits "$cost" "$minutes" "$bill" "$price"
  echo "$BUDGET_LIMITS"
done <<'CASES'
5,750,5.02,$2.40/h
5,720,5.02,$2.40/h
0.001,45,0.031,$2.40/h
,60,2.42,$2.40/h
5,,5.02,$2.40/h
,,,$2.40/h
5,59,,price unknown
,1,,free
CASES
SH
  assert_status 0
  assert_equal "$output" '$5.00 or 12:30 h, whichever is first; latest possible bill $5.02
$5.00 or 12 h, whichever is first; latest possible bill $5.02
$0.01 or 45 min, whichever is first; latest possible bill $0.04
1 h, no limit of cost; latest possible bill $2.42
$5.00, no limit of time; latest possible bill $5.02
no limit of time or cost
$5.00 or 59 min, whichever is first; no price known, and so no latest possible bill
1 min, no limit of cost; it costs nothing'
}
