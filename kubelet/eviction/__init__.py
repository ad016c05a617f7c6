"""Node-pressure eviction: what is left of memory, disk and processes, and which pod goes when it is too little.

https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/. ``thresholds`` reads the flags,
``signals`` the machine, ``state`` says which thresholds count now, ``ranking`` who goes first and ``limits`` who uses
more than it may (pure, all of them); ``usage`` measures pods, ``manager`` is the loop that acts.
"""
