"""What the node, its pods and its containers use: figures taken when somebody asks, and the documents made of them."""
