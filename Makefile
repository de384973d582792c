# A thin layer around cargo: the two commands of the README, and two more.

CARGO ?= cargo
PORT ?= 4321
# Where cargo puts what it builds.
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
BIN := $(TARGET)/debug
PID_FILE := $(TARGET)/quick-start.pid

.PHONY: help build run test clean

help:
	@echo "make run     build, and run the quick start on port $(PORT) (make run PORT=8000 takes another)"
	@echo "make test    build, and run the whole suite"
	@echo "make build   build all programs: $(BIN)"
	@echo "make clean   remove what was built"

build:
	$(CARGO) build --workspace

run: build
	@echo
	@echo "The sample prints here what it is sent. Try in another shell:"
	@echo "    echo 'Hello, World' | nc -N localhost $(PORT)"
	@echo "    kill -HUP \$$(cat $(PID_FILE))      # a new child serves, the old one drains"
	@echo "    $(BIN)/socket-protector status $(PORT)"
	@echo "Stop it with ^C."
	@echo
	@$(BIN)/socket-protector -f --pid-file $(PID_FILE) $(PORT) -- $(BIN)/sample-client $(PORT)

test:
	$(CARGO) test --workspace --all-features

clean:
	$(CARGO) clean
