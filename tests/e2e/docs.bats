#!/usr/bin/env bats
# The documents, by scripts/check-docs.sh.

load older_bats

setup() {
    cd "$BATS_TEST_TMPDIR"
    root=$BATS_TEST_DIRNAME/../..
}

@test "the documents have no dead link, no wide line, and the program's table of keys" {
    "$root/scripts/check-docs.sh"
}

@test "a dead link, a wide line and an old table are seen; --fix puts the table in" {
    mkdir -p copy/tests
    cp -r "$root"/*.md "$root/docs" "$root/scripts" "$root/search.yaml" copy
    cp "$root/tests/README.md" copy/tests
    sed -i 's/| `train.lr` | required |/| `train.lr` | 1 |/' copy/docs/configuration.md
    run copy/scripts/check-docs.sh
    [ "$status" -eq 1 ]
    [ "${#lines[@]}" -eq 1 ] && [[ $output == *"docs/configuration.md: its table is not"* ]]
    copy/scripts/check-docs.sh --fix
    cmp copy/docs/configuration.md "$root/docs/configuration.md"
    {
        printf '[a](docs/nowhere.md) [b](docs/data.md#memory) [c](#no-such-heading)\n'
        printf '[d](docs/data.md#no-such-heading)\n%0101d\n' 0
    } >>copy/README.md
    run copy/scripts/check-docs.sh
    [ "$status" -eq 1 ]
    [ "${#lines[@]}" -eq 4 ]
    [[ $output == *"no file for the link to docs/nowhere.md"* ]]
    [[ $output == *"no heading for the link to #no-such-heading"* ]]
    [[ $output == *"no heading for the link to docs/data.md#no-such-heading"* ]]
    [[ $output == *"wider than 100 columns"* ]]
}
