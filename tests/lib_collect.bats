#!/usr/bin/env bats
# lib/collect.sh: what an output looks like, and the name it gets. (Fetching them is tested through
# the commands.)
# shellcheck disable=SC2030,SC2031 # functions call run; what it leaves in a test is used there

load test_helper
load lib_helper

# kinds - extensions, and bytes with which such a file begins (as printf wants them)
kinds() {
  cat <<'KINDS'
png \211PNG\r\n\032\n\0\0\0\rIHDR
PNG \211PNG\r\n\032\n\0\0\0\rIHDR
jpg \377\330\377\340\0\020JFIF
jpeg \377\330\377\341\0\020Exif
gif GIF89a\001\0\001\0
gif GIF87a\001\0\001\0
bmp BM\066\0\0\0
webp RIFF\044\0\0\0WEBPVP8
wav RIFF\044\0\0\0WAVEfmt
avi RIFF\044\0\0\0AVI LIST
mp4 \0\0\0\040ftypisom
mov \0\0\0\024ftypqt  
m4a \0\0\0\034ftypM4A 
m4v \0\0\0\034ftypM4V 
webm \032\105\337\243\237
mkv \032\105\337\243\237
flac fLaC\0\0\0\042
ogg OggS\0\002
opus OggS\0\002
mp3 ID3\004\0
mp3 \377\373\220\144
mp3 \377\362\100
tif II*\0\010\0
tiff MM\0*\0\0
glb glTF\002\0\0\0
exr v/1\001\002\0
pdf %%PDF-1.7
zip PK\003\004\024\0
npy \223NUMPY\001\0
json {"a": 1}
json [1]
json \n  {"a": 1}
json "text"
json 12
json -1
json true
json false
json null
safetensors \110\0\0\0\0\0\0\0{"a":{}}
latent \110\0\0\0\0\0\0\0{"a":{}}
KINDS
}

@test "a file of each kind is recognised" {
  local extension bytes n=0
  while IFS=' ' read -r extension bytes; do
    n=$((n + 1))
    # shellcheck disable=SC2059 # they are a format
    printf -- "$bytes and the rest of the file" >"$n-file.$extension"
  done < <(kinds)
  run lib_both collect <<'SH'
for file in *-file.*; do
  collect_readable "$file" "${file##*.}" || echo "$file: $COLLECT_WHY"
  seen=$((${seen:-0} + 1))
done
echo "$seen files"
SH
  assert_equal "$output" "$(($(kinds | wc -l))) files"
}

@test "a web page, an error in JSON, zeros and nothing are no picture, film or sound" {
  program prog collect <<'SH'
for extension in "$@"; do
  printf '<html><head><title>502 Bad Gateway</title>' >file
  ! collect_readable file "$extension" || echo "a web page is a .$extension"
  case $COLLECT_WHY in *".$extension"*) ;; *) echo "$COLLECT_WHY" ;; esac
  printf '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' >file
  ! collect_readable file "$extension" || echo "zeros are a .$extension"
  : >file
  ! collect_readable file "$extension" || echo "nothing is a .$extension"
  [ "$COLLECT_WHY" = 'it is empty' ] || echo "$COLLECT_WHY"
  case $extension in
    json) ;;
    *)
      printf '{"error": "no such file"}' >file
      ! collect_readable file "$extension" || echo "JSON is a .$extension"
      ;;
  esac
done
SH
  # shellcheck disable=SC2046 # one word each
  run bash prog $(kinds | cut -d ' ' -f 1 | sort -u)
  assert_status 0
  assert_equal "$output" ''
}

@test "what begins as another kind is not that kind" {
  printf 'RIFF\044\0\0\0WAVEfmt ' >sound
  printf 'II*\0\010\0\0\0' >picture
  run lib_both collect <<'SH'
collect_readable sound webp || echo "$COLLECT_WHY"
collect_readable sound wav && echo sound
collect_readable picture png || echo "$COLLECT_WHY"
SH
  assert_equal "$output" 'it does not begin as a .webp file does
sound
it does not begin as a .png file does'
}

@test "a kind that we know nothing of passes unless it is empty; a file that is gone does not" {
  printf 'anything' >file
  : >empty
  run lib_both collect <<'SH'
collect_readable file txt && collect_readable file xyz && collect_readable file '' && echo passed
collect_readable empty xyz || echo "$COLLECT_WHY"
collect_readable none png 2>/dev/null || echo "$COLLECT_WHY"
SH
  assert_equal "${lines[0]}" passed
  assert_equal "${lines[1]}" 'it is empty'
  assert_matches '.' "${lines[2]}"
}

@test "another name has a stamp before the extension, and a number when that exists too" {
  run lib_both collect <<'SH'
os_utc_compact() { OS_UTC=20260131T235959Z; }
other() { collect_other_name "$1" && echo "$COLLECT_NAME"; }
rm -rf d
mkdir d
other d/result.png
other d/no-extension
other d/.hidden
other d/two.dots.tar.gz
other 'd.x/a b'
: >d/result-20260131T235959Z.png
other d/result.png
ln -s nowhere d/result-20260131T235959Z-2.png
mkdir d/result-20260131T235959Z-3.png
other d/result.png
: >'d/b-20260131T235959Z.png'
other d/b.png
SH
  assert_equal "$output" 'd/result-20260131T235959Z.png
d/no-extension-20260131T235959Z
d/.hidden-20260131T235959Z
d/two.dots.tar-20260131T235959Z.gz
d.x/a b-20260131T235959Z
d/result-20260131T235959Z-2.png
d/result-20260131T235959Z-4.png
d/b-20260131T235959Z-2.png'
}

# outputs PLAN_LINE... - collects these lines; the journal is ./run.1/journal
outputs() {
  mkdir -p run.1
  printf '%s\n' "$@" >plan
  run lib collect <<'SH'
ui_init
core_trap
core_tmpdir
collect_outputs plan "$PWD/run.1/journal"
SH
}

@test "text outputs arrive byte for byte, and nothing local is overwritten" {
  mkdir out out/taken.txt
  printf 'mine' >out/there.txt
  outputs "text	5	$PWD/out/there.txt	new \\\\ \\t\\n\\0001\\0377%s \$(touch pwned)\\n" \
    "text	6	$PWD/out/taken.txt	second" \
    "text	7	$PWD/out/sub dir/new.txt	third"
  assert_status 0
  assert_equal "$(<out/there.txt)" mine
  assert_equal "$(ls -A out/taken.txt)" ''
  assert_contains "$PWD/out/there.txt exists: kept, the new one is $PWD/out/there-2"
  printf 'new \\ \t\n\001\377%%s $(touch pwned)\n' >wanted
  cmp wanted out/there-2*.txt
  assert_equal "$(cat out/taken-2*.txt)" second
  assert_equal "$(<"out/sub dir/new.txt")" third
  refute_exists pwned
  assert_equal "$(cut -f 2,3,5 run.1/journal | tr '\t' ' ')" $'5 text 28\n6 text 6\n7 text 5'
  while IFS=$'\t' read -r _ _ _ _ _ sum path; do
    assert_equal "$(openssl dgst -sha256 <"$path" | sed 's/.* //')" "$sum" "sum of $path"
  done <run.1/journal
  assert_equal "$(find . -name '*.part')" ''
}

@test "what is home already is not collected again" {
  outputs "text	5	$PWD/a.txt	one"
  printf 'changed' >a.txt
  outputs "text	5	$PWD/a.txt	two"
  assert_status 0
  assert_equal "$(<a.txt)" changed
  rm a.txt
  outputs "text	5	$PWD/a.txt	three"
  assert_equal "$(<a.txt)" three
}

@test "a place that can't be written to is told, and the others are still fetched" {
  : >file
  outputs "text	5	$PWD/file/sub/a.txt	one" "text	6	$PWD/b.txt	two"
  assert_status 9
  assert_contains "can't make the directory $PWD/file/sub"
  assert_equal "$(<b.txt)" two
}
