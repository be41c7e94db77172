"""The same layers in PyTorch, for comparison with cuda_bench: one JSON line per case and way of computing.

    python3 bench/peers/torch_moe.py --shapes bench-small,olmoe-1b-7b --tokens 1,8,512

Ways: `loop` runs the experts one after another with F.linear on the rows that chose them, as the models in Hugging
Face's transformers do; `grouped` sorts the rows by expert and multiplies all at once with torch._grouped_mm; `graph` is
that, captured as a CUDA graph and replayed. All route with softmax and top-k in float32, and hold weights and rows in
bfloat16.

    python3 bench/peers/torch_moe.py serve HIDDEN INTERMEDIATE EXPERTS TOP_K TYPE THREADS

answers `node-moe bench --peers torch:TYPE` (see bench/README.md) with whole calls, from host memory to host memory: on
the GPU where there is one, else on the CPU; experts in the way that is faster.
"""

import argparse
import json
import statistics
import sys
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    sys.exit("torch is not installed: nothing to compare with")

SHAPES = {  # hidden, intermediate, experts, top_k
    "bench-small": (2048, 1024, 16, 4),
    "olmoe-1b-7b": (2048, 1024, 64, 8),
    "qwen3-30b-a3b": (2048, 768, 128, 8),
    "mixtral-8x7b": (4096, 14336, 8, 2),
}


class Layer:
    """Weights are [E, 2I, H] and [E, H, I], in the type of the rows they are multiplied with."""

    def __init__(self, shape, router, gate_up, down):
        self.hidden, self.intermediate, self.experts, self.top_k = shape
        self.router, self.gate_up, self.down = router, gate_up, down

    def route(self, x):
        weights, experts = F.linear(x, self.router).softmax(-1).topk(self.top_k)
        return experts, weights / weights.sum(-1, keepdim=True)

    def expert(self, rows, gate_up, down):
        gate, up = F.linear(rows, gate_up).chunk(2, -1)
        return F.linear(F.silu(gate) * up, down)

    def loop(self, x):
        experts, weights = self.route(x)
        rows = x.to(self.down.dtype)
        out = torch.zeros_like(x)
        for expert in experts.unique().tolist():
            token, choice = (experts == expert).nonzero(as_tuple=True)
            y = self.expert(rows[token], self.gate_up[expert], self.down[expert])
            out.index_add_(0, token, y.float() * weights[token, choice, None])
        return out

    def grouped(self, x):
        experts, weights = self.route(x)
        order = experts.flatten().argsort(stable=True)
        token = order // self.top_k
        ids = torch.arange(self.experts, device=x.device)
        ends = torch.searchsorted(experts.flatten()[order], ids, right=True).int()
        gate, up = torch._grouped_mm(x.to(self.down.dtype)[token], self.gate_up.transpose(1, 2), offs=ends).chunk(2, -1)
        y = torch._grouped_mm((F.silu(gate) * up).contiguous(), self.down.transpose(1, 2), offs=ends)
        rows = torch.empty(y.shape, device=y.device, dtype=torch.float32)
        rows[order] = y.float()
        return (rows.view(-1, self.top_k, self.hidden) * weights[..., None]).sum(1)


def as_graph(run, x):
    """`run(x)`, captured. It must not wait for the device."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            run(x)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run(x)
    return graph.replay


def milliseconds(run, seconds, flush):
    times, total = [], 0.0
    count = 0
    while count < 8 or (total < seconds * 1e3 and count < 500):
        flush.zero_()
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        if count >= 3:
            times.append(begin.elapsed_time(end))
            total += times[-1]
        count += 1
    return statistics.median(times)


def random_layer(shape):
    hidden, intermediate, experts, _ = shape

    def values(*sizes):
        scale = (3 / sizes[-1]) ** 0.5
        return ((torch.rand(sizes, device="cuda", dtype=torch.bfloat16) * 2 - 1) * scale).contiguous()

    router = values(experts, hidden).float()
    return Layer(shape, router, values(experts, 2 * intermediate, hidden), values(experts, hidden, intermediate))


def noise():
    """The pseudo-random integers of src/cli/bench/synthetic.ts."""
    mask = 0xFFFFFFFF
    x = torch.arange(1000003) * 0x9E3779B1 & mask
    x = (x ^ x >> 15) * 0x85EBCA77 & mask
    x = (x ^ x >> 13) * 0xC2B2AE3D & mask
    return ((x ^ x >> 16) >> 24) - 128


def synthetic(window, scale, *sizes):
    sequence = noise().roll(-window * 166667).float() * scale
    count = torch.Size(sizes).numel()
    return sequence.repeat(-(-count // len(sequence)))[:count].view(sizes)


def serve(arguments):
    shape = tuple(map(int, arguments[:4]))
    hidden, intermediate, experts, _ = shape
    dtype = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[arguments[4]]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(int(arguments[5]))
    gate = synthetic(2, 2**-11, experts, intermediate, hidden).to(dtype)
    up = synthetic(3, 2**-11, experts, intermediate, hidden).to(dtype)
    down = synthetic(4, 2**-11, experts, hidden, intermediate).to(device, dtype)
    router = synthetic(1, 2**-10, experts, hidden).to(device)
    layer = Layer(shape, router, torch.cat([gate, up], 1).to(device), down)
    ways = [layer.loop] + ([layer.grouped] if dtype == torch.bfloat16 and hasattr(torch, "_grouped_mm") else [])

    def call(x, way):
        return way(x.to(device)).cpu()

    def timed(x, way):
        begin = time.perf_counter()
        call(x, way)
        return (time.perf_counter() - begin) * 1e3

    def usable(way):
        try:
            call(synthetic(0, 2**-7, 8, hidden), way)
            return True
        except RuntimeError:  # this build or device has no grouped product
            return False

    ways = [way for way in ways if usable(way)]
    fastest = {}
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command, tokens, seconds = line.split()
        x = synthetic(0, 2**-7, int(tokens), hidden)
        if tokens not in fastest:
            fastest[tokens] = min(ways, key=lambda way: min(timed(x, way) for _ in range(3)))
        way = fastest[tokens]
        if command == "rows":
            y = call(x, way)
            print(json.dumps({"rows": y[0].tolist() + y[-1].tolist()}), flush=True)
        else:
            times, end = [], time.perf_counter() + float(seconds)
            while not times or time.perf_counter() < end:
                times.append(timed(x, way))
            print(json.dumps({"milliseconds": times}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shapes", default="bench-small,olmoe-1b-7b,qwen3-30b-a3b,mixtral-8x7b")
    parser.add_argument("--tokens", default="1,8,32,128,512,2048,8192")
    parser.add_argument("--seconds", type=float, default=0.05)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device: nothing to compare with")
    name = torch.cuda.get_device_name()
    flush = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
    torch.manual_seed(1)
    with torch.inference_mode():
        for shape in options.shapes.split(","):
            layer = random_layer(SHAPES[shape])
            for tokens in map(int, options.tokens.split(",")):
                x = torch.randn(tokens, layer.hidden, device="cuda")
                ways = {"loop": lambda: lambda: layer.loop(x)}
                if hasattr(torch, "_grouped_mm"):
                    ways["grouped"] = lambda: lambda: layer.grouped(x)
                    ways["graph"] = lambda: as_graph(layer.grouped, x)
                for way, prepare in ways.items():
                    line = {"device": name, "torch": torch.__version__, "shape": shape, "tokens": tokens, "way": way}
                    try:
                        line["ms"] = round(milliseconds(prepare(), options.seconds, flush), 5)
                        flops = 6 * tokens * layer.top_k * layer.hidden * layer.intermediate
                        line["tflops"] = round(flops / line["ms"] / 1e9, 3)
                    except RuntimeError as error:
                        line["error"] = str(error).splitlines()[0]
                    print(json.dumps(line), flush=True)
            del layer
            torch.cuda.empty_cache()


if sys.argv[1:2] == ["serve"]:
    with torch.inference_mode():
        serve(sys.argv[2:])
else:
    main()
