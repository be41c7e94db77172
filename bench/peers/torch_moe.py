"""The same layers in PyTorch, for comparison with cuda_bench: one JSON line per case and way of computing.

    python3 bench/peers/torch_moe.py --shapes bench-small,olmoe-1b-7b --tokens 1,8,512

Ways: `loop` runs the experts one after another with F.linear on the rows that chose them, as the models in Hugging
Face's transformers do; `grouped` sorts the rows by expert and multiplies all at once with torch._grouped_mm. Both route
with softmax and top-k in float32, and hold weights and rows in bfloat16.
"""

import argparse
import json
import statistics
import sys

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
    def __init__(self, shape):
        self.hidden, self.intermediate, self.experts, self.top_k = shape

        def values(*sizes):
            scale = (3 / sizes[-1]) ** 0.5
            return ((torch.rand(sizes, device="cuda", dtype=torch.bfloat16) * 2 - 1) * scale).contiguous()

        self.router = values(self.experts, self.hidden).float()
        self.gate_up = values(self.experts, 2 * self.intermediate, self.hidden)
        self.down = values(self.experts, self.hidden, self.intermediate)

    def route(self, x):
        weights, experts = F.linear(x, self.router).softmax(-1).topk(self.top_k)
        return experts, weights / weights.sum(-1, keepdim=True)

    def expert(self, rows, gate_up, down):
        gate, up = F.linear(rows, gate_up).chunk(2, -1)
        return F.linear(F.silu(gate) * up, down)

    def loop(self, x):
        experts, weights = self.route(x)
        rows = x.bfloat16()
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
        ends = torch.bincount(experts.flatten(), minlength=self.experts).cumsum(0).int()
        gate, up = torch._grouped_mm(x.bfloat16()[token], self.gate_up.transpose(1, 2), offs=ends).chunk(2, -1)
        y = torch._grouped_mm((F.silu(gate) * up).contiguous(), self.down.transpose(1, 2), offs=ends)
        rows = torch.empty(y.shape, device="cuda", dtype=torch.float32)
        rows[order] = y.float()
        return (rows.view(-1, self.top_k, self.hidden) * weights[..., None]).sum(1)


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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shapes", default="bench-small,olmoe-1b-7b,qwen3-30b-a3b,mixtral-8x7b")
    parser.add_argument("--tokens", default="1,8,32,128,512,2048,8192")
    parser.add_argument("--seconds", type=float, default=0.15)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device: nothing to compare with")
    name = torch.cuda.get_device_name()
    flush = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
    torch.manual_seed(1)
    with torch.inference_mode():
        for shape in options.shapes.split(","):
            layer = Layer(SHAPES[shape])
            for tokens in map(int, options.tokens.split(",")):
                x = torch.randn(tokens, layer.hidden, device="cuda")
                ways = {"loop": layer.loop}
                if hasattr(torch, "_grouped_mm"):
                    ways["grouped"] = layer.grouped
                for way, run in ways.items():
                    line = {"device": name, "torch": torch.__version__, "shape": shape, "tokens": tokens, "way": way}
                    try:
                        line["ms"] = round(milliseconds(lambda: run(x), options.seconds, flush), 5)
                        flops = 6 * tokens * layer.top_k * layer.hidden * layer.intermediate
                        line["tflops"] = round(flops / line["ms"] / 1e9, 3)
                    except RuntimeError as error:
                        line["error"] = str(error).splitlines()[0]
                    print(json.dumps(line), flush=True)
            del layer
            torch.cuda.empty_cache()


main()
