"""Does this machine compute what a CPU computes, from forward to checkpoint?"""
