// Only for the definitions of its resources, which are files beside its code: nothing of it is built, so go.sum has its two
// lines and no dependencies. `go mod tidy` would take both away.
module stoa.dev/hack/kubernetes/prometheus-operator

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
