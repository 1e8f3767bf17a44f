# `just` lists what there is. Everything here can be run without just, too.

# List the recipes
default:
    @{{just_executable()}} --list --unsorted

# Show the main job working, with nothing to set up
demo:
    cargo run -- demo

# Run the service in a scratch folder
serve:
    mkdir -p target/scratch && cd target/scratch && cargo run -- serve

# Run all tests, or those that the arguments leave
test *ARGS:
    scripts/test {{ARGS}}

# Format the code
fmt:
    cargo fmt --all

# Run the lints as they are run before a merge
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Do everything that must hold before a merge
ci:
    .ci/run

# Make web pages of the book, or serve them: `just book serve`
book *ARGS:
    scripts/book {{ARGS}}

# Take the book's pictures of the dashboard
screenshots:
    scripts/screenshots

# Renew docs/openapi.json from the code
openapi:
    cargo run -- openapi > docs/openapi.json

# Measure the relay against a handler written by hand
bench *ARGS:
    bench/run {{ARGS}}
