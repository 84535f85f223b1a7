#include <routebpf.h>

struct task_struct {
    int pid;
} __attribute__((preserve_access_index));

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    struct task_struct *task = (void *)bpf_get_current_task_btf();

    task->pid = 1;
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
