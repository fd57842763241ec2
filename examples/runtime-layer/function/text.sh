# Nothing but handlers: the runtime comes from the layer.

reverse() {
  echo "reversing" >&2
  rev
}

refuse() {
  return 3
}
