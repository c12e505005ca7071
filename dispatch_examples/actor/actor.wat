;; An actor with one operation: `Calculate` asks the Python provider for py.factorial of its own
;; argument and gives the answer back as it comes.
;;
;; The host calls __guest_call. What the guest wants of the host it imports from `wasmbus`; texts
;; and messages are passed as an address in the guest's memory and a length.
(module
  ;; To the guest: write what I am asked here.
  (import "wasmbus" "__guest_request"
    (func $guest_request (param $operation i32) (param $message i32)))
  ;; To the host: this is my answer, or this is what went wrong.
  (import "wasmbus" "__guest_response" (func $guest_response (param $at i32) (param $length i32)))
  (import "wasmbus" "__guest_error" (func $guest_error (param $at i32) (param $length i32)))
  ;; Call a provider: link name, contract, operation, message. 1 when it answered with a result.
  (import "wasmbus" "__host_call"
    (func $host_call
      (param $link i32) (param $link_length i32)
      (param $contract i32) (param $contract_length i32)
      (param $operation i32) (param $operation_length i32)
      (param $message i32) (param $message_length i32)
      (result i32)))
  (import "wasmbus" "__host_response_len" (func $host_response_length (result i32)))
  (import "wasmbus" "__host_response" (func $host_response (param $at i32)))
  (import "wasmbus" "__host_error_len" (func $host_error_length (result i32)))
  (import "wasmbus" "__host_error" (func $host_error (param $at i32)))

  (memory (export "memory") 1)
  (data (i32.const 0) "default")
  (data (i32.const 16) "wasmcloud:example:python")
  (data (i32.const 48) "py.factorial")
  (data (i32.const 64) "Calculate")
  (data (i32.const 80) "unknown operation; this actor has one: Calculate")

  ;; Memory from here on is free. It is taken upwards, and all free again with the next call.
  (global $free (mut i32) (i32.const 1024))

  (func (export "__wasmbus_rpc_version") (result i32)
    (i32.const 1))

  ;; Returns 1 when there is a response, 0 when there is an error.
  (func (export "__guest_call") (param $operation_length i32) (param $length i32) (result i32)
    (local $operation i32)
    (local $message i32)
    (global.set $free (i32.const 1024))
    (local.set $operation (call $take (local.get $operation_length)))
    (local.set $message (call $take (local.get $length)))
    (call $guest_request (local.get $operation) (local.get $message))

    (if (i32.eqz (call $is_calculate (local.get $operation) (local.get $operation_length)))
      (then
        (call $guest_error (i32.const 80) (i32.const 48))
        (return (i32.const 0))))

    ;; The message is 0x7f and CBOR already, so it is passed on as it came.
    (if (call $host_call
          (i32.const 0) (i32.const 7)
          (i32.const 16) (i32.const 24)
          (i32.const 48) (i32.const 12)
          (local.get $message) (local.get $length))
      (then
        (local.set $length (call $host_response_length))
        (local.set $message (call $take (local.get $length)))
        (call $host_response (local.get $message))
        (call $guest_response (local.get $message) (local.get $length))
        (return (i32.const 1))))

    (local.set $length (call $host_error_length))
    (local.set $message (call $take (local.get $length)))
    (call $host_error (local.get $message))
    (call $guest_error (local.get $message) (local.get $length))
    (i32.const 0))

  ;; The address of so much free memory; more pages of 64 KiB are asked for where it ends.
  (func $take (param $length i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (local.get $at) (local.get $length)))
    (if (i32.gt_u (global.get $free) (i32.shl (memory.size) (i32.const 16)))
      (then
        (if (i32.eq
              (memory.grow (i32.add (i32.shr_u (local.get $length) (i32.const 16)) (i32.const 1)))
              (i32.const -1))
          (then unreachable))))
    (local.get $at))

  (func $is_calculate (param $at i32) (param $length i32) (result i32)
    (local $i i32)
    (if (i32.ne (local.get $length) (i32.const 9))
      (then (return (i32.const 0))))
    (loop $next
      (if (i32.ne
            (i32.load8_u (i32.add (local.get $at) (local.get $i)))
            (i32.load8_u offset=64 (local.get $i)))
        (then (return (i32.const 0))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (i32.const 9))))
    (i32.const 1)))
